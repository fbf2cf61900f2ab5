"""What a noisy curve can be said to do: its noise, its level, how far it has moved and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

NORMAL = 1.4826  # makes a median of distances the standard deviation of a normal distribution


def noise(values: Sequence[float]) -> float:
    """Standard deviation of one value around the trend: from neighbour to neighbour, where the trend does not show."""
    jumps = [abs(after - before) for before, after in pairwise(values)]
    # The median forgives a few spikes.
    return NORMAL * statistics.median(jumps) / math.sqrt(2) if jumps else 0.0


def error(values: Sequence[float], width: int) -> float:
    """Standard error of the difference of two levels of so many values each; larger where few values tell the noise."""
    return noise(values) * (1 + 4 / max(1, len(values))) * math.sqrt(2 / width)


def shares(values: Sequence[float]) -> list[float]:
    """Logarithms, in which a difference is a share and noise is alike at every height; empty unless all are positive."""
    return [math.log(value) for value in values] if values and min(values) > 0 else []


def levels(values: Sequence[float], width: int) -> list[float]:
    """The median of each stretch of so many values, from the first to the last."""
    return [statistics.median(values[at : at + width]) for at in range(len(values) - width + 1)]


def rises(values: Sequence[float]) -> bool:
    """Whether a straight line through the values goes up almost certainly: its slope is more than two standard errors."""
    count = len(values)
    if count < 4:
        return False
    slope, start = statistics.linear_regression(range(count), values)
    rest = sum((value - start - slope * at) ** 2 for at, value in enumerate(values)) / (count - 2)
    spread = sum((at - (count - 1) / 2) ** 2 for at in range(count))
    return slope > 2 * math.sqrt(rest / spread)
