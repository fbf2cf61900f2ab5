"""Curves like those of real runs, the same on every machine."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from tui.plot import ChartData, Limit, Line, Mark, Points, Row, Series


def text(rows: tuple[Row, ...]) -> str:
    """Rows as lines of text, without the blanks at their ends."""
    return "\n".join("".join(run.text for run in row).rstrip() for row in rows)


def noise(seed: int = 0) -> Callable[[], float]:
    """Roughly normal noise of deviation 1; only ``random()`` is promised to be the same in every Python."""
    source = random.Random(seed)
    return lambda: sum(source.random() for _ in range(12)) - 6


def series(name: str, *points: tuple[float, float]) -> Series:
    """A series of a few points."""
    made = Series(name)
    for x, y in points:
        made.append(x, y)
    return made


def loss(steps: int, noisy: float = 0.08, name: str = "train") -> Series:
    """Falls quickly, then slowly, with noise."""
    made, jitter = Series(name), noise(steps)
    for step in range(1, steps + 1):
        made.append(step, 0.8 + 1.6 * math.exp(-6 * step / steps) + noisy * jitter())
    return made


def training() -> ChartData:
    """A run that goes well, with evaluations, the best of them marked, and two checkpoints."""
    evals = series("eval", (100, 1.45), (200, 1.12), (300, 1.02), (400, 0.99))
    marks = (Mark(200, "checkpoint"), Mark(400, "checkpoint"), Mark(400, "best", 0.99))
    return ChartData("loss", lines=(Line(loss(412)),), points=(Points(evals),), marks=marks, x_max=1128)


def memory() -> ChartData:
    """GPU memory during start, training and one evaluation, under the limit of the card."""
    used, reserved, jitter = Series("used"), Series("reserved"), noise(1)
    for second in range(0, 1500, 5):
        level = 1.2 if second < 30 else 17.6 if 900 <= second < 960 else 12.4
        used.append(second, level + 0.1 * jitter())
        reserved.append(second, 2.0 if second < 30 else 14.0 if second < 900 else 18.5)
    return ChartData(
        "GPU memory",
        y_label="GiB",
        x_label="time",
        lines=(Line(used, "used"), Line(reserved, "reserved", dotted=True)),
        limits=(Limit(22.9, "card limit"),),
        x_unit="seconds",
        y_include=(0,),
    )


def diverged() -> ChartData:
    """One lost step, a self-healing change, then a loss that explodes and stays NaN."""
    made, jitter = Series("train"), noise(2)
    for step in range(1, 301):
        value = 1.1 + 1.2 * math.exp(-step / 40) + 0.03 * jitter()
        if step == 90:
            value = math.inf
        if step > 200:
            value = math.nan if step > 240 else value + math.exp((step - 200) / 18)
        made.append(step, value)
    return ChartData("loss", lines=(Line(made),), marks=(Mark(91, "change"),))


def compared() -> ChartData:
    """This run and an earlier one on a logarithmic axis, smoothed."""
    now, before = Series("now"), Series("before")
    for target, floor, seed in ((now, 0.02, 3), (before, 0.08, 4)):
        jitter = noise(seed)
        for step in range(10, 2010, 10):
            clean = floor + 4 * math.exp(-step / 220)
            target.append(step, clean * math.exp(0.25 * jitter()))
    lines = (Line(now), Line(before, "compare", dotted=True))
    return ChartData("loss", lines=lines, log=True, smoothing=0.7, x_max=2000)


def learning_rate() -> ChartData:
    """Warm-up, then a cosine."""
    made = Series("learning rate")
    for step in range(1, 1001):
        made.append(
            step, 2e-4 * (step / 50 if step < 50 else 0.5 + 0.5 * math.cos(math.pi * (step - 50) / 950))
        )
    return ChartData("learning rate", lines=(Line(made),), x_max=1000)


def spike() -> ChartData:
    """One step out of 100,000 jumps."""
    made, jitter = Series("grad norm"), noise(5)
    for step in range(100_000):
        made.append(step, 9.0 if step == 70_001 else 1.5 + 0.2 * jitter())
    return ChartData("grad norm", lines=(Line(made),), y_include=(0,))


CHARTS = (training, memory, diverged, compared, learning_rate, spike)
