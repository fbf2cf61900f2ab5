"""When a model begins to learn by heart, from the losses alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

RISES = 2  # evaluations in a row that must each be worse than the one before
RISE = 0.08  # share of the best loss by which it must have risen then
MANY_RISES = 4  # so many in a row are hardly luck, so less will do
RISE_OF_MANY = 0.03
WOBBLES = 1.5  # times what it moves by itself
STAYS = 4  # evaluations that must all be worse than the best
WORSE = 0.05  # share by which they must be worse


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
    lowest (`RISE_OF_MANY` after `MANY_RISES`), and higher than it moves by itself. The training loss since that lowest point must be
    lower on average, beyond luck, than in as many steps before it; where nothing was trained before it, lower in the second half than
    in the first.

    Args:
        held_out: Loss by step, as evaluated.
        training: Loss by step, as logged.
    """
    steps = sorted(held_out)
    if not steps:
        return None
    low = min(steps, key=lambda step: (held_out[step], step))
    risen = 0
    for before, after in pairwise(reversed([held_out[step] for step in steps if step >= low])):
        if before <= after:
            break
        risen += 1
    if risen < RISES:
        return None
    share = RISE_OF_MANY if risen >= MANY_RISES else RISE
    if held_out[steps[-1]] - held_out[low] <= max(share * abs(held_out[low]), _wobble(held_out, low)):
        return None
    return _while_training_falls(held_out, training, low)


def stays_worse(held_out: Mapping[int, float], training: Mapping[int, float]) -> Overfitting | None:
    """Whether the model learnt by heart before: the rise is over, and what was lost has not come back.

    Args:
        held_out: Loss by step, as evaluated.
        training: Loss by step, as logged.
    """
    if not held_out:
        return None
    low = min(held_out, key=lambda step: (held_out[step], step))
    later = [value for step, value in sorted(held_out.items()) if step > low]
    if len(later) < STAYS or min(later) <= held_out[low] + WORSE * abs(held_out[low]):
        return None
    if statistics.fmean(later) <= held_out[low] + _wobble(held_out, low):
        return None
    return _while_training_falls(held_out, training, low)


def _wobble(held_out: Mapping[int, float], low: int) -> float:
    """What a rise must exceed because it moves as much by itself, up before the lowest loss and down after it."""
    moves = [
        (step <= low, after - before) for (_, before), (step, after) in pairwise(sorted(held_out.items()))
    ]
    against = [abs(move) for falls, move in moves if (move > 0) == falls and move]
    return WOBBLES * statistics.median(against) if against else 0.0


def _while_training_falls(
    held_out: Mapping[int, float], training: Mapping[int, float], low: int
) -> Overfitting | None:
    end = max(held_out)
    span = end - low
    before = [loss for step, loss in training.items() if low - span < step <= low]
    since = [loss for step, loss in sorted(training.items()) if step > low]
    if not before and len(since) > 1:  # it rises from the very start: the first half stands for before
        before, since = since[: len(since) // 2], since[len(since) // 2 :]
    if not before or not since:
        return None
    earlier, later = statistics.fmean(before), statistics.fmean(since)
    luck = math.sqrt(sum(statistics.variance(some) / len(some) for some in (before, since) if len(some) > 1))
    return (
        Overfitting(low, (held_out[low], held_out[end]), (earlier, later)) if later < earlier - luck else None
    )
