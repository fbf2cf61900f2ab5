"""The tutor on recorded runs of the embedded model (python -m tests.advise.record_curves), and on numbers that only a GPU tells."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.advise.tutor import Advice, Curves, Part, advise

FOLDER = Path(__file__).with_name("curves")
PARTS = 40


def parts(points: Sequence[dict[str, Any]], key: str) -> tuple[Part, ...]:
    """The points of a curve in parts of equal length, as the monitor gives them."""
    known = [(point["step"], float(point[key])) for point in points if key in point]
    if not known:
        return ()
    size = max(1, math.ceil(len(known) / PARTS))
    made = []
    for start in range(0, len(known), size):
        piece = known[start : start + size]
        finite = [value for _, value in piece if math.isfinite(value)]
        mean, high = (statistics.fmean(finite), max(finite)) if finite else (math.nan, -math.inf)
        middle = (piece[0][0] + piece[-1][0]) / 2
        made.append(Part(middle, mean, high, len(finite) < len(piece)))
    return tuple(made)


def recorded(name: str, share: float = 1.0) -> Curves:
    """A recorded run as it stood after a share of its steps."""
    told = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    last = told["points"][-1]["step"]
    points = [point for point in told["points"] if point["step"] <= share * last]
    step = points[-1]["step"]
    success = {"dpo": "rewards/accuracies", "grpo": "reward"}.get(told["objective"], "")
    return Curves(
        objective=told["objective"],
        step=step,
        max_steps=last,
        loss=parts(points, "loss"),
        held_out=[(at, value) for at, value in told["held_out"] if at <= step],
        learning_rate=max(point.get("learning_rate", 0.0) for point in points),
        success=parts(points, success) if success else (),
        same_reward=next(
            (point["frac_reward_zero_std"] for point in reversed(points) if "frac_reward_zero_std" in point),
            None,
        ),
        remaining=3600 * (1 - step / last),
        price_per_hour=2.0,
    )


def first(name: str, share: float = 1.0) -> Advice:
    """The most urgent thing that is said."""
    return advise(recorded(name, share))[0]
