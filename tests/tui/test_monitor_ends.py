"""How a run ends on the monitor, goes on again, and breaks: nothing a run does can break the screen."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from engine.run.layout import RunDir
from tests.tui.made_runs import CARD, MadeRun
from tests.tui.pilot import running

pytestmark = pytest.mark.usefixtures("fast_monitor")


async def test_the_end_is_said_and_enter_shows_the_result(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("enter")
        assert "There is no result yet" in screens.text
        made.finish()
        await screens.shows("✓ finished")
        await screens.shows("Training is complete. Enter shows the result.")
        assert "Enter result" in screens.text
        assert "x stop" not in screens.text
        assert "Training continues" not in screens.text
        await screens.press("enter")
        assert screens.at == "DoneScreen"
        await screens.press("enter")
        assert screens.at == "HomeScreen"


async def test_a_dead_run_says_why_and_offers_to_resume(made: MadeRun) -> None:
    made.writer.emit("checkpoint", step=100, path="checkpoints/checkpoint-100")
    made.end("died", "The trainer was killed (SIGKILL). Most often the machine ran out of memory (RAM).")
    async with running(80, 24, "monitor", "owl") as screens:
        assert "✗ died" in screens.text
        assert "The trainer was killed (SIGKILL)." in screens.one_line
        assert "r resumes from step 100. l shows the log." in screens.one_line
        assert "r resume" in screens.lines[-1]


async def test_a_failure_says_what_where_and_the_fix(made: MadeRun) -> None:
    made.writer.emit(
        "failure", what="No space left.", where="/runs/owl", fix="Free some space.", phase="training"
    )
    made.end("failed", "No space left.")
    async with running(80, 24, "monitor", "owl") as screens:
        for wanted in ("✗ failed", "✗ No space left.", "/runs/owl", "→ Free some space."):
            assert wanted in screens.text


async def test_a_run_that_goes_on_after_a_resume_is_followed(made: MadeRun) -> None:
    made.end("stopped", "Stopped at step 100 as asked; a checkpoint is saved.")
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.shows("■ stopped")
        made.again()
        made.come_alive()
        made.begin()
        made.writer.emit("phase", phase="resuming", words="Going on from step 60.", step=60, resumed_from=60)
        made.train()
        made.steps(61, 70)
        await screens.shows("● running, attempt 2")
        await screens.shows("step 70 of 400")


async def test_resume_starts_the_trainer_again(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[RunDir] = []
    monkeypatch.setattr("engine.config.resume.resume", resumed.append)
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("r")
        assert "It is going on already" in screens.text
        assert resumed == []
        made.die()
        await screens.shows("✗ died")
        await screens.press("r")
        assert "? Go on with owl?" in screens.text
        await screens.press("escape", "r", "enter")
        assert [run.name for run in resumed] == ["owl"]


async def test_a_resume_that_cannot_be_is_explained(made: MadeRun) -> None:
    made.finish()
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("r")
        await screens.shows("This run is complete; there is nothing to continue.")


async def test_a_deleted_run_is_a_state(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        made.die()
        shutil.rmtree(made.run.path)
        await screens.shows("The folder of this run is gone.")
        await screens.press("s", "l", "escape", "c", "x", "r", "space", "z")
        assert screens.at == "MonitorScreen"


async def test_garbage_in_the_events_is_a_state(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        with open(made.run.events, "ab") as file:
            file.write(b"\xff\x00\x1b[2J garbage\n" * 5)
            file.write(
                json.dumps({"kind": "metric", "step": "Infinity", "t": [], "loss": {}}).encode() + b"\n"
            )
        made.step(101)
        await screens.shows("5 lines of the events file make no sense")
        assert "step 101 of 400" in screens.text


async def test_a_clock_that_jumps_is_nothing_special(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        for t in (5.0, time.time() + 1e6, -1e18, 1e300):
            made.clock = lambda t=t: t
            made.writer._clock = made.clock
            made.memory(CARD)
            made.writer.emit("checkpoint", step=101, path="x")
        made.writer._clock = time.time
        made.step(102)
        await screens.shows("step 102 of 400")


async def test_a_not_a_number_loss_is_shown_as_such(made: MadeRun) -> None:
    made.step(101, loss=float("nan"))
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.shows("loss NaN")
        assert "✗ not a number" in screens.text


async def test_foreign_names_are_harmless(made: MadeRun) -> None:
    evil = "[bold]x[/] \x1b[2J\u202e"
    made.writer.emit("phase", phase="loading", words=evil, method=evil)
    made.writer.emit("sample", when="before", step=0, prompt=evil, text=evil, stopped=True)
    async with running(80, 24, "monitor", "owl") as screens:
        assert "\x1b" not in screens.text
        assert "\\x1b[2J\\u202e" in screens.text
        await screens.press("s")
        assert "[bold]x[/] \\x1b[2J\\u202e" in screens.text


async def test_two_viewers_watch_the_same_run(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as one, running(120, 40, "monitor", "owl") as other:
        made.steps(101, 120)
        await one.shows("step 120 of 400")
        await other.shows("step 120 of 400")
