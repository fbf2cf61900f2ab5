"""When a model begins to learn by heart, from the losses alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

RISES = 2  # evaluations in a row that must each be worse than the one before
RISE = 0.02  # share of the best loss by which it must have risen; less is the noise of few held-out rows


@dataclass(frozen=True, slots=True)
class Overfitting:
    """Held-out rows get worse while training rows get better.

    Attributes:
        since: Step of the lowest loss on held-out rows; it rises from there.
        held_out: That lowest loss, and the one now.
        training: Mean training loss before that step, and after it.
    """

    since: int
    held_out: tuple[float, float]
    training: tuple[float, float]


def overfitting(held_out: Mapping[int, float], training: Mapping[int, float]) -> Overfitting | None:
    """Whether the model learns by heart by now.

    The loss on held-out rows must have risen at each of the last `RISES` evaluations and stand more than `RISE` above its
    lowest, and the training loss since that lowest point must be lower on average than in as many steps before it; where nothing was trained before it, lower in the second half than in the
    first.

    Args:
        held_out: Loss by step, as evaluated.
        training: Loss by step, as logged.
    """
    steps = sorted(held_out)
    if len(steps) <= RISES:
        return None
    low = min(steps, key=lambda step: (held_out[step], step))
    last = [held_out[step] for step in steps[-RISES - 1 :]]
    if steps[-RISES - 1] < low or any(after <= before for before, after in pairwise(last)):
        return None
    now, lowest = last[-1], held_out[low]
    if now - lowest <= RISE * abs(lowest):
        return None
    span = steps[-1] - low
    before = [loss for step, loss in training.items() if low - span < step <= low]
    since = [loss for step, loss in sorted(training.items()) if step > low]
    if not before and len(since) > 1:  # it rises from the very start: the first half stands for before
        before, since = since[: len(since) // 2], since[len(since) // 2 :]
    if not before or not since:
        return None
    earlier, later = sum(before) / len(before), sum(since) / len(since)
    return Overfitting(low, (lowest, now), (earlier, later)) if later < earlier else None
