"""How sure a difference between two models is. For worker processes: numpy is loaded when a function is called."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

RESAMPLES = 10_000
SEED = 42
FEWEST = (
    6  # rows that have to differ: with five, all of them going one way happens by chance in 1 of 16 cases
)
_TAIL = 0.025  # of a 95 % interval, on either side
_AT_ONCE = 4_000_000  # drawn rows in memory
_POWER = 2.8  # 1.96 + 0.84: to tell a difference at 95 % in four of five tries


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference and where it may lie.

    Attributes:
        before: Mean of the first model.
        after: Mean of the second one.
        difference: The second minus the first.
        low: Lower end of the interval that covers the true difference in 95 of 100 cases.
        high: Its upper end.
        rows: Rows that were measured.
        differing: Those where the models differ.
        needed: Rows needed to tell a difference of this size, roughly; None where there is none.
    """

    before: float
    after: float
    difference: float
    low: float
    high: float
    rows: int
    differing: int
    needed: int | None

    @property
    def is_shown(self) -> bool:
        """The data show a difference: the interval leaves zero out, and enough rows differ."""
        return self.differing >= FEWEST and (self.low > 0 or self.high < 0)


def paired(
    before: Sequence[float],
    after: Sequence[float],
    weights: Sequence[float] | None = None,
    transform: Callable[[float], float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    same: float = 0.0,
) -> Interval:
    """Compare two models on the same rows by resampling the rows (paired bootstrap, percentile interval).

    Args:
        before: A number for each row, of the first model.
        after: The same rows, of the second one.
        weights: How much each row counts, such as its tokens; all the same without.
        transform: What is compared is this of the means, such as ``exp`` for perplexity.
        resamples: How often rows are drawn.
        seed: The same seed gives the same interval.
        same: Up to this distance a row does not count as differing.

    Raises:
        ValueError: There are no rows, or not the same number.
    """
    import numpy as np

    if not before or len(before) != len(after):
        raise ValueError("both models need the same rows, at least one")
    pair = np.array([before, after], dtype=np.float64)
    weight = np.ones(len(before)) if weights is None else np.asarray(weights, dtype=np.float64)
    change: Any = (lambda values: values) if transform is None else np.vectorize(transform, otypes=[float])
    weighted = pair * weight
    old, new = change(weighted.sum(1) / weight.sum())
    draw = np.random.default_rng(seed)
    count = len(before)
    found = []
    for start in range(0, resamples, step := max(1, _AT_ONCE // count)):
        rows = draw.integers(0, count, (min(step, resamples - start), count))
        total = weight[rows].sum(1)
        found.append(change(weighted[1][rows].sum(1) / total) - change(weighted[0][rows].sum(1) / total))
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5))
    apart = pair[1] - pair[0]
    if weights is None and transform is None and np.ptp(apart) == 0:
        # Rows that all say the same leave nothing to resample, and yet others might not change: Clopper and Pearson's bound.
        low, high = sorted((new - old, (new - old) * _TAIL ** (1 / count)))
    return Interval(
        float(old),
        float(new),
        float(new - old),
        float(low),
        float(high),
        count,
        int((np.abs(apart) > same).sum()),
        rows_needed(
            float((weight * apart).sum() / weight.sum()), float(apart.std(ddof=1)) if count > 1 else 0.0
        ),
    )


def rows_needed(difference: float, spread: float) -> int | None:
    """Rows to tell a difference of this size at 95 % in four of five tries, rounded up to two digits.

    Args:
        difference: Mean over the rows.
        spread: Standard deviation of the differences of single rows.

    Returns:
        None where there is no difference to be told.
    """
    if difference == 0 or not math.isfinite(spread) or not math.isfinite(difference):
        return None
    exact = max(float(FEWEST), (_POWER * spread / difference) ** 2)
    if exact > 1e12:
        return None
    digits = 10 ** max(0, math.floor(math.log10(exact)) - 1)
    return math.ceil(exact / digits) * digits
