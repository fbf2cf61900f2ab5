"""Axes that move in steps, so that a new point redraws a few rows and not the whole chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Unit = Literal["number", "seconds"]
"""What x counts: steps and other plain numbers, or seconds shown as times."""

GROWTH = 1.25
SHORTEST = 10.0  # the first domain of x: ten steps or ten seconds
LOOSE = 0.4  # limits are too loose when the data use less than this share of them
FLATTEST = 1e-3  # smallest span relative to the values: keeps labels short and noise on a constant flat
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Limits:
    """The ends of the y axis; with ``log`` both are positive and distances are ratios."""

    low: float
    high: float
    log: bool = False

    def fraction(self, y: float) -> float:
        """Where ``y`` lies, from 0 at the bottom to 1 at the top; outside values are put on the edge."""
        if y <= self.low:
            return 0.0
        if y >= self.high:
            return 1.0
        if self.log:
            # Differences of logarithms, because the ratio of the largest to the smallest float is infinite.
            low = math.log(self.low)
            return (math.log(y) - low) / (math.log(self.high) - low)
        return (y - self.low) / (self.high - self.low)

    def value(self, fraction: float) -> float:
        """The inverse of :meth:`fraction`."""
        if self.log:
            low = math.log(self.low)
            return math.exp(low + (math.log(self.high) - low) * fraction)
        return self.low + (self.high - self.low) * fraction

    def labels(self, divisions: int) -> list[str]:
        """Short labels from bottom to top, ``divisions + 1`` of them."""
        values = [self.value(i / divisions) for i in range(divisions + 1)]
        return [short_number(v, digits=2) for v in values] if self.log else number_labels(values)


class YAxis:
    """Limits with a memory: they move only when data leave them or when they have become far too loose."""

    def __init__(self) -> None:
        self._limits: Limits | None = None
        self._divisions = 0

    def fit(self, low: float, high: float, divisions: int = 2, log: bool = False) -> Limits:
        """Limits for data between ``low`` and ``high``.

        Args:
            low: Smallest value; positive if ``log``.
            high: Largest value, not below ``low``.
            divisions: Equal parts between the labels; every label comes out as a round number.
            log: Logarithmic axis.
        """
        if log:
            old = self._limits if self._limits and self._limits.log else None
            used = math.log(high) - math.log(low)
            kept = old is not None and old.low <= low and high <= old.high
            if old is None or not kept or used < LOOSE * (math.log(old.high) - math.log(old.low)):
                self._limits = _log_limits(low, high)
        else:
            low, high = _widen(low, high)
            slack = 1e-6 * (high - low)  # round numbers do not come out exactly
            old = self._limits if self._limits and not self._limits.log else None
            if old is None or divisions != self._divisions:
                self._limits = nice_limits(low, high, divisions)
            elif low < old.low - slack or high > old.high + slack:
                self._limits = nice_limits(*_with_room(low, high, old), divisions)
            elif high - low < LOOSE * (old.high - old.low):
                self._limits = nice_limits(low, high, divisions)
        self._divisions = divisions
        assert self._limits is not None
        return self._limits


def _widen(low: float, high: float) -> tuple[float, float]:
    """Give (nearly) constant data a span."""
    size = max(abs(low), abs(high))
    if size < 1e-300:
        return (0.0, 1.0)
    if high - low >= FLATTEST * size:
        return low, high
    middle = low + (high - low) / 2
    return middle - FLATTEST * size, middle + FLATTEST * size


def _with_room(low: float, high: float, old: Limits) -> tuple[float, float]:
    """Room beyond an end that was just crossed, because it will be crossed again soon."""
    room = (high - low) / 10
    if high > old.high:
        high = 0.0 if high < 0 < high + room else high + room
    if low < old.low:
        low = 0.0 if low - room < 0 <= low else low - room
    return low, high


def nice_limits(low: float, high: float, divisions: int) -> Limits:
    """Round numbers around ``low`` < ``high`` that also divide into ``divisions`` round parts."""
    span = high - low
    for step in _steps_down_from(nice_step(span / divisions)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        missing = -(last - first) % divisions
        if last <= 0:
            first -= missing
        else:
            last += missing
        if span >= (0.8 - 1e-9) * step * (last - first):
            break
    return Limits(first * step, last * step)


def _steps_down_from(step: float) -> Sequence[float]:
    """A round step and the six finer ones below it."""
    steps = [step]
    for _ in range(6):
        steps.append(nice_step(steps[-1] / 2.6))
    return steps


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``least`` (> 0)."""
    power = 10.0 ** math.floor(math.log10(least))
    for factor in (1, 2, 5):
        if factor * power >= least * (1 - 1e-9):
            return factor * power
    return 10 * power


def _log_limits(low: float, high: float) -> Limits:
    bottom = _round_to(low, down=True)
    top = _round_to(high)
    return Limits(bottom, top if top > bottom else bottom * 2, log=True)


def _round_to(value: float, down: bool = False) -> float:
    """The next number above (or below) with one or two plain digits."""
    power = 10.0 ** math.floor(math.log10(value))
    if power > value:  # the logarithm was rounded up
        power /= 10
    rounds = [f * power for f in (1, 1.5, 2, 3, 5, 7, 10)]
    if down:
        return max((r for r in rounds if r <= value), default=power)
    return min((r for r in rounds if r >= value), default=10 * power)


def domain_end(last: float, x_max: float | None = None) -> float:
    """Right end of the x axis: grows by a quarter each time, up to the known end of the run.

    Args:
        last: The largest x so far.
        x_max: Where the run will end, if known.
    """
    end = SHORTEST
    if last > SHORTEST:
        end *= GROWTH ** math.ceil(math.log(last / SHORTEST, GROWTH) - 1e-9)
        end = max(end, last)
    if x_max is not None and last <= x_max <= end * GROWTH:
        return max(1.0, x_max)
    return end


def x_window(first: float, last: float, x_max: float | None = None, zoom: float = 1.0) -> tuple[float, float]:
    """The part of x that is shown.

    Args:
        first: The smallest x so far.
        last: The largest x so far.
        x_max: Where the run will end, if known.
        zoom: Show only this last share of the curve; 1 shows all.
    """
    start, end = min(0.0, first), domain_end(last, x_max)
    if not 0 < zoom < 1:
        return start, end
    # The window slides by a quarter of itself, because each slide redraws everything.
    width = (end - start) * zoom
    hop = width / 4
    right = min(end, start + max(4, math.ceil((last - start) / hop)) * hop)
    return right - width, right


def x_ticks(x0: float, x1: float, width: int, unit: Unit = "number") -> list[tuple[float, str]]:
    """Round positions with labels, about one for every 12 of ``width`` columns."""
    least = (x1 - x0) / max(1, min(8, width // 12))
    step = _time_step(least) if unit == "seconds" else max(1.0, nice_step(least))
    first, last = math.ceil(x0 / step - 1e-9), math.floor(x1 / step + 1e-9)
    values = [i * step for i in range(first, min(last, first + 20) + 1)]
    labels = [short_time(v) for v in values] if unit == "seconds" else number_labels(values)
    return list(zip(values, labels, strict=True))


def _time_step(least: float) -> float:
    for step in TIME_STEPS:
        if step >= least:
            return step
    return 86400 * nice_step(least / 86400)


def number_labels(values: Sequence[float]) -> list[str]:
    """Labels for evenly spaced values, alike in unit and decimals: ``0.8 1.6 2.4``, ``0 25k 50k``."""
    size = max(map(abs, values), default=0.0)
    spacing = min((abs(b - a) for a, b in pairwise(values)), default=size)
    if size == 0 or not 1e-3 <= size < 1e15:
        return [short_number(v) for v in values]
    scale, suffix = next(((s, name) for s, name in SUFFIXES if size >= s), (1.0, ""))
    plain, scaled = _alike(values, spacing), _alike(values, spacing, scale, suffix)
    return scaled if max(map(len, scaled)) < max(map(len, plain)) else plain


def _alike(values: Sequence[float], spacing: float, scale: float = 1.0, suffix: str = "") -> list[str]:
    """Values with as many decimals as it takes to tell them apart."""
    decimals = 0
    while decimals < 6 and any(
        abs(round(v / scale, decimals) - v / scale) * scale > 0.02 * spacing for v in values
    ):
        decimals += 1
    return [f"{v / scale:.{decimals}f}{suffix}" if v else "0" for v in values]


def short_number(value: float, digits: int = 3) -> str:
    """One number in a few digits: ``0.8``, ``12.4``, ``1.2k``, ``2e-4``, ``NaN``."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0:
        return "0"
    if not 1e-3 <= size < 1e15:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_trim(mantissa)}e{int(exponent)}"
    scale, suffix = next(((s, name) for s, name in SUFFIXES if size >= s), (1.0, ""))
    decimals = max(0, digits - 1 - math.floor(math.log10(size / scale)))
    return f"{_trim(f'{value / scale:.{decimals}f}')}{suffix}"


def _trim(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def short_time(seconds: float) -> str:
    """A time since the start: ``30s``, ``5m``, ``1h``, ``1h30``, ``2d``, ``2d12``."""
    whole = round(seconds)
    if whole < 0:
        return "-" + short_time(-seconds)
    if whole < 60:
        return f"{whole}s" if whole else "0"
    for size, name, smaller in ((86400, "d", 3600), (3600, "h", 60), (60, "m", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{name}{rest:02}" if rest else f"{whole // size}{name}"
    raise AssertionError(whole)
