"""Reading values off a chart and moving through time."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tests.tui.plot.curves import compared, memory, series, spike, text, training
from tui.plot import ChartData, Line, Mark, Points, Series, cursor_step, plan, readout, render, scrolled
from tui.plot.raster import x_ends


def test_a_place_between_points_reads_the_nearest_of_every_curve() -> None:
    data = ChartData(
        "loss",
        lines=(
            Line(series("now", (10, 2.0), (20, 1.0), (30, 0.5))),
            Line(series("owl-1", (10, 3.0), (21, 2.5)), "compare", dotted=True),
        ),
        points=(Points(series("eval", (20, 1.25))),),
    )
    assert readout(data, 19) == [
        ("now", "1", "train"),
        ("owl-1", "2.5", "compare"),
        ("eval", "1.25 at 20", "eval"),
    ]
    assert readout(data, 20)[2] == ("eval", "1.25", "eval"), "an evaluation under the cursor needs no place"
    assert readout(data, 1000)[0].value == "0.5"
    assert readout(ChartData("loss", lines=(Line(Series("empty")),)), 5) == []


def test_a_place_that_several_points_share_reads_their_mean_and_range() -> None:
    data = spike()
    (found,) = readout(data, 70_001, width=100)
    assert found.value.endswith(" to 9)"), "the spike of one step is read where it is seen"
    mean, low = float(found.value.split(" (")[0]), float(found.value.split("(")[1].split(" to")[0])
    assert low < mean < 2, "the mean is that of the column, the range that of its extremes"
    (elsewhere,) = readout(data, 30_000, width=100)
    assert " to 9)" not in elsewhere.value


def test_what_is_not_a_number_is_said() -> None:
    made = series("train", (1, 1.0), (2, math.nan), (3, math.inf))
    data = ChartData("loss", lines=(Line(made),))
    assert [readout(data, x)[0].value for x in (1, 2, 3)] == ["1", "NaN", "inf"]
    assert readout(data, 2, width=1)[0].value == "1, 2 not a number"


def test_the_parts_of_memory_are_read_at_one_moment() -> None:
    found = {name: float(value.split(" ")[0]) for name, value, _ in readout(memory(), 930)}
    assert 17 < found["used"] < 18.2
    assert found["reserved"] == 18.5
    assert readout(memory(), 930)[1].value == "18.5 GiB"


def test_the_cursor_goes_from_point_to_point_and_stops_at_the_ends() -> None:
    data = ChartData("loss", lines=(Line(series("train", (10, 2.0), (20, 1.0), (80, 0.5))),), x_max=100)
    newest = cursor_step(data, 50, None, -1)
    assert newest == 80
    assert cursor_step(data, 50, 80, 1) == 80
    assert cursor_step(data, 50, 80, -1) == 20, "columns without a point are jumped over"
    assert cursor_step(data, 50, 20, -1) == 10
    assert cursor_step(data, 50, 10, -1) == 10
    assert cursor_step(data, 50, 10, 1) == 20
    assert cursor_step(ChartData(), 50, None, 1) is None


@pytest.mark.parametrize("make", [training, memory, compared, spike])
def test_walking_over_a_chart_visits_every_column_that_holds_something(make) -> None:  # type: ignore[no-untyped-def]
    data = make()
    width = plan(data, 60, 12).width
    seen: list[float] = []
    x = cursor_step(data, width, None, -1)
    while x is not None and (not seen or x != seen[-1]):
        assert readout(data, x, width)
        seen.append(x)
        x = cursor_step(data, width, x, -1)
    assert seen == sorted(seen, reverse=True)
    x0, x1 = x_ends(data)
    columns = {int((x - x0) / (x1 - x0) * width) for x in seen}
    filled = {
        number for each in data.series() for number, part in enumerate(each.columns(x0, x1, width)) if part
    }
    assert len(filled - columns) <= 1
    assert len(columns) >= 15


def test_the_cursor_jumps_from_mark_to_mark() -> None:
    data = training()
    assert cursor_step(data, 60, 412, -1, to="mark") == 400
    assert cursor_step(data, 60, 400, -1, to="mark") == 200
    assert cursor_step(data, 60, 200, -1, to="mark") == 200
    assert cursor_step(data, 60, 200, 1, to="mark") == 400


def test_scrolling_goes_back_to_the_first_point_and_forward_to_the_newest() -> None:
    data = dataclasses.replace(spike(), zoom=0.1)
    width = x_ends(data)[1] - x_ends(data)[0]
    ranges: list[tuple[float, float]] = []
    for _ in range(40):
        shown = scrolled(data, -1)
        assert shown is not None
        if ranges and shown == ranges[-1]:
            break
        ranges.append(shown)
        data = dataclasses.replace(data, x_range=shown)
    assert ranges[-1][0] == 0
    assert all(math.isclose(b - a, width) for a, b in ranges)
    steps = 0
    while (shown := scrolled(data, 1)) is not None:
        data, steps = dataclasses.replace(data, x_range=shown), steps + 1
        assert steps < 40
    assert data.x_range is not None
    assert data.x_range[1] > 90_000


def test_the_cursor_is_a_line_that_noise_does_not_hide() -> None:
    data = dataclasses.replace(spike(), marks=(Mark(50_000, "cursor"),))
    where = plan(data, 60, 12)
    column = where.left + (where.column(50_000, where.width) or 0)
    rows = text(render(data, 60, 12)).split("\n")
    drawn = [row[column : column + 1] for row in rows[: where.height]]
    assert drawn.count("┊") >= where.height - 2, "\n".join(rows)
