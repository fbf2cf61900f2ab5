"""What a run can be asked for, and how a request is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.run import control
from engine.run.layout import RunDir
from tests.tui.made_runs import MadeRun
from tests.tui.pilot import running
from tui.monitor.notes import REQUESTS

pytestmark = pytest.mark.usefixtures("fast_monitor")


async def test_a_request_is_dropped_and_said(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        for key, what, said in (
            ("c", "checkpoint", "Asked for a checkpoint"), ("e", "evaluate", "Asked for an evaluation"), ("p", "pause", "Asked to pause"),
        ):  # fmt: skip
            await screens.press(key)
            assert screens.at == "ConfirmScreen"
            await screens.press("escape")
            assert not control.is_requested(made.run, what)
            await screens.press(key, "enter")
            assert control.is_requested(made.run, what)
            assert f"→ {said}" in screens.text
            await screens.press(key)
            assert "That was asked already" in screens.text
            control.take(made.run)
            made.writer.emit("change", request=what, step=101, words="Request taken.")
            await screens.shows(REQUESTS[what])
            assert f"→ {said}" not in screens.text


async def test_without_held_out_rows_there_is_nothing_to_evaluate() -> None:
    made = MadeRun("none")
    made.come_alive()
    made.begin(eval_rows=0)
    made.train()
    async with running(80, 24, "monitor", "none") as screens:
        await screens.press("e")
        assert "There are no held-out rows to measure on" in screens.text
        assert not control.is_requested(made.run, "evaluate")
    made.die()


@pytest.mark.thorough
async def test_before_training_there_is_nothing_to_save() -> None:
    made = MadeRun("soon")
    made.come_alive()
    made.begin()
    async with running(80, 24, "monitor", "soon") as screens:
        await screens.press("c")
        assert "Training has not begun: nothing to save" in screens.one_line
        await screens.press("x")
        assert "Stop and save ✗ Training has not begun: nothing to save" in screens.one_line
        assert "▸ Stop now" in screens.text
        await screens.press("up", "enter")
        assert screens.at == "StopScreen"
        await screens.press("down", "enter")
        assert control.is_requested(made.run, "stop-now")
    made.die()


async def test_the_stop_dialog(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        for keys, asked in (
            (["escape"], None),
            (["down", "down", "down", "enter"], None),
            (["enter"], "stop-and-save"),
            (["down", "enter"], "stop-now"),
            (["down", "down", "enter"], "pause"),
        ):
            await screens.press("x")
            assert screens.at == "StopScreen"
            for wanted in ("Stop owl?", "Stop and save", "Stop now", "Go on"):
                assert wanted in screens.text
            await screens.press(*keys)
            assert screens.at == "MonitorScreen"
            assert {what for what in control.REQUESTS if control.is_requested(made.run, what)} == (
                {asked} if asked else set()
            )
            if asked:
                await screens.shows("→ Asked to pause" if asked == "pause" else "→ Asked to stop")
                control.take(made.run)
                await screens.until(lambda: "→ Asked" not in screens.text, "the end of the request")


async def test_a_run_that_has_ended_cannot_be_stopped(made: MadeRun) -> None:
    made.finish()
    async with running(80, 24, "monitor", "owl") as screens:
        for key, words in (
            ("x", "there is nothing to stop"),
            ("c", "The run is not going on."),
            ("e", "The run is not going on."),
            ("p", "The run is not going on."),
            ("r", "This run is complete; there is nothing to continue."),
        ):
            await screens.press(key)
            assert words in screens.text


async def test_a_folder_that_cannot_be_written_is_said(
    made: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(run: RunDir, what: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(control, "request", read_only)
    real = os.access
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("c", "enter")
        assert "The trainer cannot be asked: Read-only file system." in screens.text
        monkeypatch.setattr(
            os, "access", lambda path, mode: Path(path) != made.run.control and real(path, mode)
        )
        await screens.press("p")
        assert "The run's folder cannot be written to." in screens.text
        await screens.press("x")
        assert "Stop now ✗ The run's folder cannot be written to." in screens.one_line
        assert "▸ Go on" in screens.text
