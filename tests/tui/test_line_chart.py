"""The chart widget repaints what changed and nothing else."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from textual.app import App, ComposeResult

from tests.tui.plot.curves import loss, memory, series, text, training
from tui.plot import Charset, ChartData, Line, Series, render
from tui.widgets.line_chart import LineChart


class PaintedChart(LineChart):
    """Notes which of its rows were asked for."""

    def __init__(self, characters: Charset = "braille") -> None:
        super().__init__(characters=characters)
        self.painted: list[int] = []

    def render_line(self, y: int):  # type: ignore[no-untyped-def]
        self.painted.append(y)
        return super().render_line(y)


class ChartApp(App[None]):
    CSS = "LineChart { width: 60; height: 12; }"

    def __init__(self, chart: LineChart) -> None:
        super().__init__()
        self.chart = chart
        self.layouts = 0

    def compose(self) -> ComposeResult:
        yield self.chart

    def lines(self) -> list[str]:
        return [strip.text for strip in self.screen._compositor.render_strips()]


def inside(app: ChartApp) -> str:
    """What stands inside the border."""
    return "\n".join(line[1:59].rstrip() for line in app.lines()[1:11])


async def test_the_widget_shows_the_drawing_with_title_and_legend_in_the_border() -> None:
    app = ChartApp(LineChart(characters="braille"))
    async with app.run_test(size=(62, 14)) as pilot:
        app.chart.set_data(training())
        await pilot.pause()
        assert inside(app) == text(render(training(), 58, 10))
        assert app.lines()[0].rstrip() == "╭─ loss  ── train  ● eval " + "─" * 33 + "╮"
        assert app.lines()[11].rstrip() == "╰" + "─" * 35 + " ★ best  ▲ checkpoint ─╯"


async def test_a_new_point_repaints_only_the_rows_that_changed() -> None:
    chart = PaintedChart()
    app = ChartApp(chart)
    made, steps = Series("train"), list(loss(500).window())
    async with app.run_test(size=(62, 14)) as pilot:
        for bucket in steps[:410]:
            made.append(bucket.x0, bucket.mean)
        chart.set_data(ChartData("loss", lines=(Line(made),)))
        await pilot.pause()
        layouts = chart._layout_updates
        for bucket in steps[410:440]:
            before = inside(app).split("\n")
            chart.painted.clear()
            made.append(bucket.x0, bucket.mean)
            chart.set_data(ChartData("loss", lines=(Line(made),)))
            await pilot.pause()
            after = inside(app).split("\n")
            differ = {y for y in range(10) if before[y] != after[y]}
            assert set(chart.painted) == differ
            assert len(differ) <= 3
        assert inside(app) == text(render(chart.data, 58, 10))
        assert chart._layout_updates == layouts, "new data never move anything else"


async def test_unchanged_data_paint_nothing() -> None:
    chart = PaintedChart()
    app = ChartApp(chart)
    async with app.run_test(size=(62, 14)) as pilot:
        data = memory()
        chart.set_data(data)
        await pilot.pause()
        chart.painted.clear()
        chart.set_data(data)
        chart.set_data(dataclasses.replace(data))
        await pilot.pause()
        assert chart.painted == []


async def test_a_series_that_was_cut_back_is_drawn_again() -> None:
    chart = LineChart(characters="braille")
    app = ChartApp(chart)
    made = loss(400)
    async with app.run_test(size=(62, 14)) as pilot:
        chart.set_data(ChartData("loss", lines=(Line(made),), x_max=400))
        await pilot.pause()
        full = inside(app)
        made.truncate_after(200)
        chart.set_data(ChartData("loss", lines=(Line(made),), x_max=400))
        await pilot.pause()
        assert inside(app) != full
        assert len(inside(app).split("\n")[8]) < 40


async def test_every_size_is_drawn_after_a_resize() -> None:
    app = ChartApp(LineChart(characters="braille"))
    app.CSS = ""
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.set_data(training())
        for size in ((40, 10), (120, 40), (3, 3), (1, 1), (20, 5), (80, 24)):
            app.chart.styles.width, app.chart.styles.height = size
            await pilot.resize_terminal(*size)
            await pilot.pause()
            width, height = app.chart.size
            drawn = "\n".join(app.chart.render_line(y).text.rstrip() for y in range(height))
            assert drawn == text(render(training(), width, height))


async def test_ascii_has_nothing_beyond_ascii_even_where_a_title_is_cut() -> None:
    app = ChartApp(LineChart(characters="ascii"))
    app.CSS = ""
    async with app.run_test(size=(62, 14)) as pilot:
        wide = series("模型 with a name that is far too long for this border", (1, 1.0), (2, math.nan))
        app.chart.set_data(ChartData("größe", lines=(Line(wide),)))
        for width in (62, 30, 12):
            app.chart.styles.width = width
            await pilot.resize_terminal(width, 14)
            await pilot.pause()
            assert "".join(app.lines()).isascii()
        assert app.lines()[0].startswith("+- gr??e")


async def test_colours_follow_the_theme() -> None:
    app = ChartApp(LineChart(characters="braille"))
    async with app.run_test(size=(62, 14)) as pilot:
        app.chart.set_data(training())
        await pilot.pause()

        def colours(y: int) -> set[str]:
            strip = app.screen._compositor.render_strips()[y]
            return {s.style.color.name for s in strip if s.style and s.style.color and s.text.strip()}

        assert {"#5fd7ff", "#ffd75f"} <= colours(0)
        assert "#5fd7ff" in colours(3)
        app.theme = "textual-light"
        await pilot.pause()
        await pilot.pause()
        assert {"#005faf", "#af5f00"} <= colours(0)
        assert "#005faf" in colours(3)
        assert "#5fd7ff" not in colours(3)


def test_every_default_colour_is_among_the_256() -> None:
    cube = {0x00, 0x5F, 0x87, 0xAF, 0xD7, 0xFF}
    grey = {8 + 10 * i for i in range(24)}
    words = LineChart.DEFAULT_CSS.replace(";", " ").split()
    for colour in (word[1:] for word in words if word.startswith("#")):
        parts = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
        assert set(parts) <= cube or (len(set(parts)) == 1 and parts[0] in grey), colour


async def test_the_cursor_reads_x() -> None:
    app = ChartApp(LineChart(characters="braille"))
    async with app.run_test(size=(62, 14)) as pilot:
        app.chart.set_data(ChartData("loss", lines=(Line(loss(1000)),), x_max=1000))
        await pilot.pause()
        assert app.chart.x_at(0) is None
        assert app.chart.x_at(57) == pytest.approx(1000, abs=15)


def test_the_drawing_needs_no_screen_library() -> None:
    folder = Path(render.__code__.co_filename).parent
    for path in folder.glob("*.py"):
        for word in ("textual", "rich", "numpy"):
            assert f"import {word}" not in path.read_text()
            assert f"from {word}" not in path.read_text()
