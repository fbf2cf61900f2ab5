"""What a drawing promises whatever the data are."""

from __future__ import annotations

import dataclasses
import math
import statistics
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tui.plot.curves import CHARTS, diverged, loss, memory, noise, series, text, training
from tui.plot import Charset, ChartData, Limit, Line, Mark, Memory, Points, Row, Series, YAxis, plan, render

NUMBERS = st.one_of(
    st.floats(),
    st.floats(-10, 10),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 1e300, -1e300, 1.7e308, math.nan, math.inf, -math.inf]),
)
POINTS = st.lists(st.tuples(st.one_of(st.floats(0, 1e6), NUMBERS), NUMBERS), max_size=40)
LABELS = st.text(max_size=12)


@st.composite
def charts(draw: st.DrawFn) -> ChartData:
    def curve() -> Series:
        made = Series("y", 16)
        for x, y in sorted(draw(POINTS), key=lambda point: (math.isnan(point[0]), point[0])):
            made.append(x, y)
        return made

    kinds = st.sampled_from(["best", "checkpoint", "change", "cursor"])
    marks = st.builds(Mark, NUMBERS, kinds, st.one_of(st.none(), NUMBERS))
    return ChartData(
        lines=tuple(Line(curve(), dotted=draw(st.booleans())) for _ in range(draw(st.integers(0, 2)))),
        points=tuple(Points(curve()) for _ in range(draw(st.integers(0, 1)))),
        limits=tuple(draw(st.lists(st.builds(Limit, NUMBERS, LABELS), max_size=2))),
        marks=tuple(draw(st.lists(marks, max_size=3))),
        x_label=draw(LABELS),
        x_unit=draw(st.sampled_from(["number", "seconds"])),
        x_max=draw(st.one_of(st.none(), NUMBERS)),
        x_range=draw(st.one_of(st.none(), st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)))),
        zoom=draw(st.sampled_from([1.0, 0.5, 0.01])),
        smoothing=draw(st.sampled_from([0.0, 0.9])),
        log=draw(st.booleans()),
        y_include=tuple(draw(st.lists(NUMBERS, max_size=2))),
        empty=draw(LABELS),
    )


def check_shape(rows: tuple[Row, ...], width: int, height: int, charset: Charset) -> None:
    assert len(rows) == height
    for row in rows:
        line = "".join(run.text for run in row)
        assert len(line) == width
        assert charset != "ascii" or line.isascii()
        for char in line:
            assert unicodedata.east_asian_width(char) not in "WF"
            assert unicodedata.category(char)[0] not in "MC"
        assert all(a.role != b.role for a, b in pairwise(row)), "runs are merged"
        assert all(run.text for run in row)


@settings(max_examples=200, deadline=None)
@given(
    charts(), charts(), st.integers(1, 90), st.integers(1, 25), st.sampled_from(["braille", "block", "ascii"])
)
def test_the_drawing_is_exactly_as_large_as_asked(
    first: ChartData, second: ChartData, width: int, height: int, charset: Charset
) -> None:
    axis = YAxis()
    for data in (first, second):
        rows = render(data, width, height, charset, axis)
        check_shape(rows, width, height, charset)
        assert rows == render(data, width, height, charset, axis), "drawing twice changes nothing"


@pytest.mark.parametrize("make", CHARTS)
@pytest.mark.parametrize("charset", ["braille", "block", "ascii"])
def test_every_size_from_nothing_to_a_wall(make: object, charset: Charset) -> None:
    data = make()  # type: ignore[operator]
    for width, height in ((0, 5), (5, 0), (1, 1), (2, 3), (15, 4), (16, 2), (20, 5), (200, 50), (300, 80)):
        rows = render(data, width, height, charset)
        assert len(rows) == height
        if width:
            check_shape(rows, width, height, charset)


def test_a_spike_of_one_step_in_a_million_is_seen() -> None:
    made = Series("loss")
    for step in range(1_000_000):
        made.append(step, 50.0 if step == 654_321 else 1.0)
    for charset in ("braille", "block", "ascii"):
        rows = text(render(ChartData(lines=(Line(made),)), 76, 10, charset)).split("\n")
        spike = len(rows[2]) - 1
        assert all(len(row) > spike and row[spike] != " " for row in rows[2:9])
        assert 654_000 / 1.25 < plan(ChartData(lines=(Line(made),)), 76, 10).x_at(spike) < 656_000 * 1.25  # type: ignore[operator]


def test_one_more_point_changes_few_rows() -> None:
    for smoothing in (0.0, 0.9):
        made, axis, memory, changes = Series("train"), YAxis(), Memory(), []
        before: tuple[Row, ...] = ()
        for bucket in loss(2000, 0.1).window():
            made.append(bucket.x0, bucket.mean)
            data = ChartData("loss", lines=(Line(made),), x_max=2000, smoothing=smoothing)
            rows = render(data, 76, 10, "braille", axis, memory)
            changes.append(sum(a != b for a, b in zip(rows, before, strict=False)))
            before = rows
        assert statistics.median(changes) <= 3
        assert sum(count > 3 for count in changes) <= 60, "axes move rarely"


def test_lost_values_are_a_gap_in_the_curve_with_a_mark_below() -> None:
    made = Series("y")
    for step in range(101):
        made.append(step, math.nan if 40 < step <= 60 else 1.0)
    rows = text(render(ChartData(lines=(Line(made),), x_max=100), 56, 6, "ascii")).split("\n")
    curve = next(row for row in rows if "''" in row)
    marks = rows[-2]
    for column in range(30, 36):
        assert (curve[column], marks[column]) == (" ", "x")
    assert {curve[20], curve[45]} == {"'"}
    assert "x" not in marks[:24]


def test_infinity_does_not_spoil_the_scale() -> None:
    data = ChartData(lines=(Line(series("y", (1, 1.0), (2, math.inf), (3, -math.inf), (4, 2.0))),))
    limits = plan(data, 60, 10).limits
    assert limits is not None
    assert 0 <= limits.low < limits.high <= 3


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        (5.0,),
        (5.0, 5.0, 5.0),
        (0.0, 0.0),
        (-3.0, -2.0),
        (1e-12, 3e-12),
        (1e250, 2e250),
        (-1e300, 1e300),
        (1e-320,),
    ],
)
def test_unusual_values_draw_a_curve(values: tuple[float, ...], log: bool) -> None:
    made = series("y", *((10.0 * i, y) for i, y in enumerate(values, 1)))
    rows = render(ChartData(lines=(Line(made),), log=log), 60, 10, "braille")
    assert any(run.role == "train" for row in rows for run in row)
    assert any(run.role == "axis" for row in rows[:-1] for run in row)


def test_nothing_yet_says_so() -> None:
    assert text(render(ChartData(empty="waiting for the first step"), 40, 5)) == (
        "\n       waiting for the first step\n\n\n"
    )
    only_nan = ChartData(lines=(Line(series("y", (1, math.nan))),), empty="no numbers")
    rows = text(render(only_nan, 40, 6, "ascii")).split("\n")
    assert "no numbers" in "".join(rows)
    assert rows[4].strip() == "x"


def test_evaluations_are_points_of_their_own_glyph_and_role() -> None:
    rows = render(training(), 76, 10, "braille")
    runs = [run for row in rows for run in row if run.role == "eval"]
    assert "".join(run.text for run in runs).count("●") == 3, "the fourth wears the star of the best"
    assert any("★" in run.text and run.role == "mark" for row in rows for run in row)


def test_the_label_of_a_limit_gives_way_to_the_curve() -> None:
    used = series("used", *((x, 22.0 if x > 60 else 5.0) for x in range(101)))
    data = ChartData(
        lines=(Line(used, "used"),), limits=(Limit(22.9, "card limit"),), y_include=(0,), x_max=100
    )
    top = text(render(data, 60, 8, "ascii")).split("\n")[0]
    assert "card limit" in top
    assert top.index("card limit") < 35, "the curve is where the label usually stands"


def test_a_limit_too_close_for_its_label_is_still_drawn() -> None:
    data = ChartData(lines=(Line(series("y", (0, 1.0), (9, 1.0))),), limits=(Limit(5, "a very long label"),))
    assert "-----" in text(render(data, 18, 8, "ascii"))


def test_roles_tell_what_a_run_is() -> None:
    roles = {run.role for row in render(memory(), 76, 10) for run in row}
    assert roles >= {"axis", "label", "used", "reserved", "limit"}
    roles = {run.role for row in render(diverged(), 76, 10) for run in row}
    assert roles >= {"axis", "label", "train", "mark", "bad"}


def test_zoom_and_range_choose_the_window() -> None:
    data = ChartData(lines=(Line(loss(1000)),), x_max=1000)
    assert (plan(data, 60, 10).x0, plan(data, 60, 10).x1) == (0, 1000)
    zoomed = plan(dataclasses.replace(data, zoom=0.1), 60, 10)
    assert (zoomed.x0, zoomed.x1) == (900, 1000)
    assert zoomed.limits is not None
    assert zoomed.limits.high < 1.5, "the start of the curve no longer counts"
    ranged = plan(dataclasses.replace(data, x_range=(200.0, 400.0)), 60, 10)
    assert (ranged.x0, ranged.x1) == (200, 400)


def test_a_screen_column_knows_its_x() -> None:
    where = plan(ChartData(lines=(Line(loss(1000)),), x_max=1000), 64, 10)
    assert where.x_at(where.left - 1) is None
    assert where.x_at(64) is None
    width = 1000 / where.width
    assert where.x_at(where.left) == pytest.approx(width / 2)
    assert where.x_at(63) == pytest.approx(1000 - width / 2)
    for column in (where.left, 30, 63):
        x = where.x_at(column)
        assert x is not None
        assert where.column(x, where.width) == column - where.left


@pytest.mark.parametrize("width", [40, 76, 200])
def test_smoothing_calms_the_curve_at_any_width(width: int) -> None:
    made, jitter = Series("y"), noise()
    for step in range(1000):
        made.append(step, jitter())

    def rows_of_the_curve(smoothing: float) -> int:
        data = ChartData(lines=(Line(made),), smoothing=smoothing)
        return sum(any(run.role == "train" for run in row) for row in render(data, width, 20))

    assert rows_of_the_curve(0.97) < rows_of_the_curve(0.0)


def test_two_curves_are_told_apart_without_colour() -> None:
    up = Line(series("a", *((x, x) for x in range(100))))
    down = Line(series("b", *((x, 99 - x) for x in range(100))), "compare", dotted=True)
    solid = text(render(ChartData(lines=(up,), x_max=100), 60, 12, "ascii"))
    dotted = text(render(ChartData(lines=(down,), x_max=100), 60, 12, "ascii"))
    assert sum(c in "'-.|" for c in dotted) < 0.7 * sum(c in "'-.|" for c in solid)
