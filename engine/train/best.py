"""Which evaluation was best, how long ago, and when a model begins to learn by heart; from the numbers alone."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

RISES = 2  # evaluations in a row that must each be worse than the one before
RISE = 0.02  # share of the best loss by which it must have risen; less is the noise of few held-out rows
LINK = "best"


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


def measured(history: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """A number of the trainer's log by step; a later one of the same step counts, and what is no number does not."""
    found: dict[int, float] = {}
    for entry in history:
        value, step = entry.get(name), entry.get("step")
        if isinstance(value, int | float) and isinstance(step, int) and not math.isnan(value):
            found[step] = float(value)
    return found


def best_step(
    values: Mapping[int, float], higher_is_better: bool, among: Collection[int] | None = None
) -> int | None:
    """The step with the best value, the first of equals.

    Args:
        values: By step.
        higher_is_better: Of the values.
        among: Only these steps count, such as those of which a checkpoint stands; all without it.
    """
    sign = -1 if higher_is_better else 1
    known = [step for step in values if among is None or step in among]
    return min(known, key=lambda step: (sign * values[step], step), default=None)


def evaluations_since_best(values: Mapping[int, float], higher_is_better: bool) -> int:
    """How many evaluations came after the best one."""
    best = best_step(values, higher_is_better)
    return 0 if best is None else sum(step > best for step in values)


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
    low = best_step(held_out, higher_is_better=False)
    if low is None or len(steps) <= RISES:
        return None
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


def mark(checkpoints: Path, name: str) -> None:
    """Let ``checkpoints/best`` point at a checkpoint; left out on a file system without links."""
    link, new = checkpoints / LINK, checkpoints / f".{LINK}.new"
    with contextlib.suppress(OSError):
        new.unlink(missing_ok=True)
        os.symlink(name, new)
        os.replace(new, link)
