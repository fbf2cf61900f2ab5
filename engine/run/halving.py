"""Which runs of a sweep are worth going on with: halving, one run after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

RUNGS = (0.25, 0.5)  # shares of a run's steps at which it is judged
RULE = (
    "A run is judged at a quarter and at half of its steps: it goes on only if it is in the better half of all runs that came "
    "that far, at the same share of their steps."
)


def at_rung(values: Mapping[int, float], max_steps: int, rung: float) -> float | None:
    """What was measured when a run came to a rung: the first evaluation there or after it, but before the next rung.

    Args:
        values: By step.
        max_steps: Of the run.
        rung: Share of its steps.
    """
    later = next((other for other in RUNGS if other > rung), 1.0)
    there = [step for step in values if rung * max_steps <= step < later * max_steps]
    return values[min(there)] if there else None


def goes_on(value: float, others: Sequence[float], higher_is_better: bool) -> bool:
    """Whether a value is in the better half of itself and the others; the first always is.

    Args:
        value: Of the run that is judged.
        others: Of the runs before it, at the same rung.
        higher_is_better: Of these values.
    """
    if math.isnan(value):
        return not others
    better = sum(other > value if higher_is_better else other < value for other in others)
    return better < math.ceil((len(others) + 1) / 2)
