"""Reading the loss as it comes: is it still a number, has it exploded, does it move at all?

All thresholds stand here. They look at logged points, each the mean over ``logging_steps`` steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean, median, variance
from typing import Literal

BAD_IN_A_ROW = 3  # points that are no numbers, or exactly zero; float16 alone may skip a step now and then
SCALING_STEPS = (
    20  # float16 begins with a scale that is too large and halves it until the gradients are finite
)
WINDOW = 15  # points whose median stands for the loss of the moment, so that one odd batch counts for nothing
EXPLODED_OVER_FIRST, EXPLODED_OVER_BEST = (
    1.5,
    3.0,
)  # both times at once: the loss is worse than before training
LARGE_ENOUGH = 0.5  # a smaller loss has not exploded, however much smaller it was before
RELAPSED_OVER_BEST = 6.0  # or no better than before training, and so many times the best
STRAYS = 1  # points of a window that may lie below the loss at the beginning all the same
GRADIENT_JUMP = 100.0  # times the median of the points before
FLAT_POINTS = 60  # so often it is asked whether anything moves
FLAT_SHARE = 0.02  # of the loss at the beginning: surely less was gained

Why = Literal["not a number", "zero", "exploded"]


@dataclass(frozen=True, slots=True)
class Broken:
    """Training that no longer makes sense.

    Attributes:
        why: What is wrong.
        since: The first step of it.
        step: The step at which that was sure.
        words: One sentence for people.
    """

    why: Why
    since: int
    step: int
    words: str


class LossBroken(Exception):
    """Training no longer makes sense; raised at the same step in every process, before anything of it is saved."""

    def __init__(self, found: Broken) -> None:
        super().__init__(found.words)
        self.found = found


@dataclass(slots=True)
class Curve:
    """The loss so far.

    Attributes:
        has_loss: The loss falls when the model learns; with made-up answers it tells nothing.
        imitates: A loss of exactly zero means that nothing is learnt.
        scaled: float16 with a loss scale, where a gradient that is no number only skips a step.
    """

    has_loss: bool = True
    imitates: bool = True
    scaled: bool = False
    _steps: list[int] = field(default_factory=list)
    _losses: list[float] = field(default_factory=list)
    _norms: list[float] = field(default_factory=list)
    _best: float = math.inf
    _no_number: list[int] = field(default_factory=list)
    _zero: list[int] = field(default_factory=list)
    _skipped: list[int] = field(default_factory=list)

    def feed(self, step: int, loss: float, norm: float | None = None) -> Broken | None:
        """Take the next logged point; tells when training is broken."""
        gradient_lost = norm is not None and not math.isfinite(norm)
        self._skipped = [*self._skipped, step] if gradient_lost else []
        lost = not math.isfinite(loss) or (gradient_lost and not self.scaled)
        self._no_number = [*self._no_number, step] if lost else []
        if len(self._no_number) >= BAD_IN_A_ROW or len(self._skipped) >= SCALING_STEPS:
            since = (self._no_number or self._skipped)[0]
            what = "loss" if not math.isfinite(loss) else "gradient"
            return Broken(
                "not a number", since, step, f"The {what} has not been a number (NaN) since step {since}."
            )
        if lost or gradient_lost:
            return None
        nothing = self.imitates and loss == 0.0 and not norm
        self._zero = [*self._zero, step] if nothing else []
        if len(self._zero) >= BAD_IN_A_ROW:
            words = f"The loss has been exactly zero since step {self._zero[0]}, so nothing is learnt."
            return Broken("zero", self._zero[0], step, words)
        self._steps.append(step)
        self._losses.append(loss)
        if norm is not None:
            self._norms.append(norm)
        return self._exploded()

    def _exploded(self) -> Broken | None:
        if not self.has_loss or len(self._losses) < 2 * WINDOW:
            return None
        first, now = median(self._losses[:WINDOW]), median(self._losses[-WINDOW:])
        self._best = min(self._best, now)
        limit = min(
            max(EXPLODED_OVER_FIRST * first, EXPLODED_OVER_BEST * self._best),
            max(first, RELAPSED_OVER_BEST * self._best),
        )
        # Noise lets some points of a window fall below where training began; an explosion leaves hardly any there.
        if now <= max(limit, LARGE_ENOUGH) or sorted(self._losses[-WINDOW:])[STRAYS] <= first:
            return None
        # The median needs half a window to notice; the jump lies before that.
        since = next(
            step
            for step, loss in zip(self._steps[-WINDOW:], self._losses[-WINDOW:], strict=True)
            if loss > limit
        )
        words = f"The loss has exploded since about step {since}: it was {self._best:.3g} at its best, and is {now:.3g} now."
        return Broken("exploded", since, self._steps[-1], words)

    def jump(self) -> float | None:
        """How many times larger the gradients have just become; None as long as that is nothing to speak of."""
        if len(self._norms) < 3 * WINDOW:
            return None
        before, now = median(self._norms[-10 * WINDOW : -5]), median(self._norms[-5:])
        times = now / before if before > 0 else 0.0
        return times if times > GRADIENT_JUMP else None

    def is_flat(self) -> bool:
        """Whether the loss has surely gained less than `FLAT_SHARE` since the beginning: not merely lost in noise."""
        if not self.has_loss or not self._losses or len(self._losses) % FLAT_POINTS:
            return False
        third = len(self._losses) // 3
        begin, end = self._losses[:third], self._losses[-third:]
        gained = fmean(begin) - fmean(end)
        doubt = 2 * math.sqrt(variance(begin) / third + variance(end) / third)
        return abs(gained) + doubt < FLAT_SHARE * abs(fmean(begin))

    @property
    def span(self) -> tuple[float, float]:
        """The loss at the beginning and now."""
        return median(self._losses[:WINDOW]), median(self._losses[-WINDOW:])
