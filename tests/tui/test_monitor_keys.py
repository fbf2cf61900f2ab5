"""What the keys of the monitor do to the picture."""

from __future__ import annotations

import pytest

from tests.tui.made_runs import MadeRun
from tests.tui.pilot import running
from tui.widgets.line_chart import LineChart

pytestmark = pytest.mark.usefixtures("fast_monitor")


async def test_leaving_says_how_to_come_back(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("q")
        assert screens.app.farewell == [
            "Training goes on. Back: finetui attach owl   Stop it: finetui stop owl"
        ]


async def test_escape_goes_from_a_pane_to_the_curves_and_then_home(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("l")
        assert "╭─ log ─" in screens.text
        await screens.press("escape")
        assert "╭─ loss " in screens.text
        await screens.press("escape")
        assert screens.at == "HomeScreen"


async def test_the_log_pane_follows_the_log(made: MadeRun) -> None:
    made.run.log.write_text("\n".join(f"line {number}" for number in range(100)) + "\n\x1b[31mred\n")
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("l")
        await screens.shows("\\x1b[31mred")
        assert "line 99" in screens.text
        with open(made.run.log, "a") as log:
            log.write("something new\n")
        await screens.shows("something new")
        await screens.press("home")
        assert "line 0" in screens.text


async def test_the_samples_pane_shows_before_and_now(made: MadeRun) -> None:
    made.writer.emit(
        "sample", when="before", step=0, prompt="What do owls eat?", text="I do not know.", stopped=True
    )
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("s")
        await screens.shows("What do owls eat? │ │ before I do not know. │ │ now comes while it trains")
        made.writer.emit(
            "sample", when="after", step=400, prompt="What do owls eat?", text="Mice, hoot!", stopped=True
        )
        await screens.shows("after Mice, hoot!")
        await screens.press("s")
        assert "╭─ loss " in screens.text


async def test_a_frozen_picture_stands_still_while_data_keep_coming(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("space")
        assert "picture frozen" in screens.text
        before = screens.lines[1:]
        made.steps(101, 200)
        await screens.pilot.pause(0.2)
        assert screens.lines[1:] == before
        await screens.pilot.resize_terminal(100, 30)
        await screens.settle()
        assert "step 100 of 400" in screens.text
        made.finish()
        await screens.shows("✓ finished")
        await screens.press("space")
        assert "step 200 of 400" in screens.text


async def test_zoom_and_log_scale_change_the_curves(made: MadeRun) -> None:
    made.steps(101, 300)
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.shows("step 300 of 400")
        chart = screens.app.screen.query_one("#loss", LineChart)
        await screens.press("z")
        assert chart.data.zoom == 0.25
        await screens.press("z", "z")
        assert chart.data.zoom == 1.0
        await screens.press("y")
        assert chart.data.log


async def test_help_explains_the_words(made: MadeRun) -> None:
    async with running(100, 80, "monitor", "owl") as screens:
        await screens.press("question_mark")
        for wanted in (
            "Loss says how surprised",
            "Learning rate (lr)",
            "Save a checkpoint after this step; asks first.",
            "Learning rate and gradient norm.",
        ):
            assert wanted in screens.one_line
        await screens.press("escape")
        assert screens.at == "MonitorScreen"
