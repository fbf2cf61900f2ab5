"""A drawing that goes on from the last one is the one that a fresh drawing would be."""

from __future__ import annotations

import math
import random
from typing import get_args

import pytest

from tests.tui.plot.curves import text
from tui.plot import Charset, ChartData, Line, Mark, Memory, Points, Series, YAxis, render


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("characters", get_args(Charset))
def test_going_on_draws_what_drawing_anew_draws(seed: int, characters: Charset) -> None:
    source = random.Random(seed)
    now, before, evals = Series("now", 64), Series("before", 64), Series("eval", 64)
    for early in range(0, 300, source.choice((1, 3, 40))):
        before.append(early, 2 - early / 400 + source.random() / 10)
    memory, axis_on, axis_anew = Memory(), YAxis(), YAxis()
    step, smoothing, zoom, log = 0.0, 0.0, 1.0, False
    for number in range(250):
        for _ in range(source.choice((0, 1, 1, 2, 5))):
            step += source.choice((0.5, 1, 1, 4, 30 if source.random() < 0.05 else 1))
            value = 1 + math.exp(-step / 100) + 0.2 * source.random()
            now.append(step, source.choice((value,) * 20 + (math.nan, 8.0)))
        if source.random() < 0.03:
            step = max(0.0, step - 20)
            now.truncate_after(step)
        if source.random() < 0.1:
            evals.append(step, 1.1 + source.random() / 10)
        if source.random() < 0.03:
            smoothing = source.choice((0.0, 0.8))
            zoom, log = source.choice((1.0, 0.25)), source.random() < 0.5
        data = ChartData(
            "loss",
            lines=(Line(now), Line(before, "compare", dotted=True)),
            points=(Points(evals),),
            marks=(Mark(40, "change"), Mark(step / 2, "cursor"), Mark(20, "checkpoint")),
            smoothing=smoothing,
            zoom=zoom,
            log=log,
            x_max=source.choice((None, 400)) if number % 50 == 0 else 400,
        )
        on = render(data, 60, 12, characters, axis_on, memory)
        anew = render(data, 60, 12, characters, axis_anew)
        assert on == anew, f"picture {number}:\n{text(on)}\n\n{text(anew)}"


def test_a_new_point_leaves_the_other_rows_as_they_were() -> None:
    made, memory, axis = Series("train"), Memory(), YAxis()
    for step in range(1000):
        made.append(step, 1 + math.exp(-step / 100))
    data = ChartData("loss", lines=(Line(made),), x_max=2000)
    first = render(data, 100, 20, "braille", axis, memory)
    made.append(1000, 1.0)
    second = render(data, 100, 20, "braille", axis, memory)
    same = sum(a is b for a, b in zip(first, second, strict=True))
    assert same >= 17
