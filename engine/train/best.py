"""Which evaluation was best, and how long ago; from the numbers alone."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

LINK = "best"


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


def mark(checkpoints: Path, name: str) -> None:
    """Let ``checkpoints/best`` point at a checkpoint; left out on a file system without links."""
    link, new = checkpoints / LINK, checkpoints / f".{LINK}.new"
    with contextlib.suppress(OSError):
        new.unlink(missing_ok=True)
        os.symlink(name, new)
        os.replace(new, link)
