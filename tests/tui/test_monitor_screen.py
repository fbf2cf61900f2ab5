"""The monitor on made-up runs: what it shows, what its keys do, and that nothing a run does can break it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path

import pytest

from engine.run import atomic, control
from engine.run.layout import RunDir
from tests.tui.made_runs import CARD, MadeRun
from tests.tui.pilot import Screens, running
from tui.monitor.watch import Watch
from tui.widgets.line_chart import LineChart


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.monitor.POLL", 0.02)
    monkeypatch.setattr("tui.screens.monitor.DRAW_EVERY", 0.0)
    monkeypatch.setattr("tui.screens.monitor.MORE_EVERY", 0.0)


@pytest.fixture
def made() -> Iterator[MadeRun]:
    """A live run in the middle of training."""
    run = MadeRun("owl")
    run.come_alive()
    run.begin()
    run.train()
    run.evaluate(0, 3.0)
    run.steps(1, 100)
    run.evaluate(100, 1.05)
    run.memory(CARD)
    yield run
    run.die()


async def until(screens: Screens, condition: Callable[[], bool], what: str) -> None:
    for _ in range(150):
        await screens.pilot.pause(0.02)
        if condition():
            return
    raise AssertionError(f"{what} did not come:\n{screens.text}")


async def shows(screens: Screens, wanted: str) -> None:
    await until(screens, lambda: wanted in screens.one_line, wanted)


# What is on the screen


async def test_everything_of_the_sketch_is_on_80_by_24(made: MadeRun) -> None:
    atomic.write_json(made.run.launch, {"price_per_hour": 0.69})
    async with running(80, 24, "monitor", "owl") as screens:
        await shows(screens, "$0.00")
        for wanted in (
            "owl · SFT, LoRA · ● running", "step 100 of 400", "25 %", "gone", "loss 1.", "eval 1.050", "3,1", "tokens/s",
            "lr 2e-4", "epoch 1.0", "── train  ● eval", "GPU memory, GiB", "★ best", "GPU 0   97 % busy  71 °C  312 W",
            "12.4 of 22.9 GiB", "Evaluated at step 100: loss 1.050, the best so far",
            "You can close this window. Training continues. Back: finetui attach owl",
            "1-9 panels", "x stop", "p pause", "space freeze", "? help", "q leave",
        ):  # fmt: skip
            assert wanted in screens.text, wanted
        assert len(screens.lines) == 24
        assert max(map(len, screens.lines)) <= 80


async def test_a_wide_terminal_shows_more_at_once(made: MadeRun) -> None:
    async with running(120, 40, "monitor", "owl") as screens:
        await shows(screens, "learning rate 2e-4")
        for wanted in (
            "─ learning rate ─",
            "─ gradient norm ─",
            "─ tokens per second ─",
            "c checkpoint",
            "Reading the dataset.",
        ):
            assert wanted in screens.text, wanted


@pytest.mark.parametrize(
    "size", [(60, 16), (59, 20), (80, 15), (40, 8), (20, 5), (10, 2), (1, 1), (200, 50), (300, 80)]
)
async def test_every_size_shows_the_state(made: MadeRun, size: tuple[int, int]) -> None:
    async with running(*size, "monitor", "owl") as screens:
        assert max(map(len, screens.lines), default=0) <= size[0]
        if size > (20, 2):
            assert "running" in screens.text
        if size > (39, 2):
            assert "loss 1." in screens.text
            assert "25 %" in screens.text


async def test_a_storm_of_sizes_ends_in_a_good_picture(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        before = screens.lines[3:16]
        for size in ((20, 5), (300, 80), (60, 16), (59, 15), (120, 40), (1, 1), (80, 24)):
            await screens.pilot.resize_terminal(*size)
        await screens.settle()
        assert screens.lines[3:16] == before


async def test_without_a_card_it_shows_ram_and_says_so(made: MadeRun) -> None:
    made.memory()
    async with running(100, 30, "monitor", "owl") as screens:
        assert "RAM, GiB  ── trainer  ╌╌ all" in screens.text
        assert "No GPU here, so RAM: trainer 2.0 GiB, all 6.0 of 64.0 GiB" in screens.text


async def test_loading_is_said_in_words() -> None:
    made = MadeRun("new")
    made.come_alive()
    made.begin()
    async with running(80, 24, "monitor", "new") as screens:
        assert "→ Loading the model owl-1b ... (" in screens.text
        assert "The first point comes after the first step." in screens.text
        made.train()
        made.step(1)
        await shows(screens, "step 1 of 400")
    made.die()


async def test_new_events_appear_and_move_nothing(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        updates = {widget: widget._layout_updates for widget in screens.app.screen.walk_children()}
        made.steps(101, 140)
        made.memory({**CARD, "temperature": 79})
        await shows(screens, "step 140 of 400")
        await shows(screens, "79 °C")
        assert {widget: widget._layout_updates for widget in screens.app.screen.walk_children()} == updates


async def test_when_nothing_happens_nothing_is_painted(
    made: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.monitor.CLOCK_EVERY", 3600.0)
    async with running(80, 24, "monitor", "owl") as screens:
        painted: list[object] = []
        display = screens.app._display
        monkeypatch.setattr(screens.app, "_display", lambda *args: (painted.append(args), display(*args)))
        await screens.pilot.pause(0.3)
        assert painted == []
        made.step(101)
        await shows(screens, "step 101 of 400")
        assert painted


async def test_time_goes_on_by_itself_every_few_seconds(
    made: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.monitor.CLOCK_EVERY", 0.1)
    async with running(80, 24, "monitor", "owl") as screens:
        await shows(screens, "1 s gone")


async def test_a_long_history_is_read_in_slices_with_a_percentage(
    made: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.monitor.watch.READ_BYTES", 2000)
    monkeypatch.setattr("tui.screens.monitor.BREATH", 0.2)
    made.steps(101, 350)
    monkeypatch.setattr(Watch, "read", partialmethod(Watch.read, max_events=100))
    async with running(80, 24, "monitor", "owl") as screens:
        await shows(screens, "Reading what has happened so far:")
        await shows(screens, "step 350 of 400")
        await shows(screens, "Training.")


# Ends


async def test_the_end_is_said_and_enter_shows_the_result(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("enter")
        assert "There is no result yet" in screens.text
        made.finish()
        await shows(screens, "✓ finished")
        await shows(screens, "Training is complete. Enter shows the result.")
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
        await shows(screens, "■ stopped")
        made.again()
        made.come_alive()
        made.begin()
        made.writer.emit("phase", phase="resuming", words="Going on from step 60.", step=60, resumed_from=60)
        made.train()
        made.steps(61, 70)
        await shows(screens, "● running, attempt 2")
        await shows(screens, "step 70 of 400")


async def test_resume_starts_the_trainer_again(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[RunDir] = []
    monkeypatch.setattr("engine.config.resume.resume", resumed.append)
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("r")
        assert "It is going on already" in screens.text
        assert resumed == []
        made.die()
        await shows(screens, "✗ died")
        await screens.press("r")
        assert "? Go on with owl?" in screens.text
        await screens.press("escape", "r", "enter")
        assert [run.name for run in resumed] == ["owl"]


async def test_a_resume_that_cannot_be_is_explained(made: MadeRun) -> None:
    made.finish()
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("r")
        await shows(screens, "This run is complete; there is nothing to continue.")


# Keys


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
        await shows(screens, "\\x1b[31mred")
        assert "line 99" in screens.text
        with open(made.run.log, "a") as log:
            log.write("something new\n")
        await shows(screens, "something new")
        await screens.press("home")
        assert "line 0" in screens.text


async def test_the_samples_pane_shows_before_and_now(made: MadeRun) -> None:
    made.writer.emit(
        "sample", when="before", step=0, prompt="What do owls eat?", text="I do not know.", stopped=True
    )
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("s")
        await shows(screens, "What do owls eat? │ │ before I do not know. │ │ now comes while it trains")
        made.writer.emit(
            "sample", when="after", step=400, prompt="What do owls eat?", text="Mice, hoot!", stopped=True
        )
        await shows(screens, "after Mice, hoot!")
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
        await shows(screens, "✓ finished")
        await screens.press("space")
        assert "step 200 of 400" in screens.text


async def test_zoom_and_log_scale_change_the_curves(made: MadeRun) -> None:
    made.steps(101, 300)
    async with running(80, 24, "monitor", "owl") as screens:
        await shows(screens, "step 300 of 400")
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


# Requests


@pytest.mark.parametrize(
    ("key", "what", "said"),
    [("c", "checkpoint", "Asked for a"), ("e", "evaluate", "Asked for an"), ("p", "pause", "Asked to pause")],
)
async def test_a_request_is_dropped_and_said(made: MadeRun, key: str, what: str, said: str) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
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
        await shows(screens, ", as asked")
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


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        (["enter"], "stop-and-save"),
        (["down", "enter"], "stop-now"),
        (["down", "down", "enter"], "pause"),
        pytest.param(["down", "down", "down", "enter"], None, marks=pytest.mark.thorough),
        (["escape"], None),
    ],
)
async def test_the_stop_dialog(made: MadeRun, keys: list[str], asked: str | None) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
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
            await shows(screens, "→ Asked to pause" if asked == "pause" else "→ Asked to stop")


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


# Broken things


async def test_a_deleted_run_is_a_state(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        made.die()
        shutil.rmtree(made.run.path)
        await shows(screens, "The folder of this run is gone.")
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
        await shows(screens, "5 lines of the events file make no sense")
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
        await shows(screens, "step 102 of 400")


async def test_a_not_a_number_loss_is_shown_as_such(made: MadeRun) -> None:
    made.step(101, loss=float("nan"))
    async with running(80, 24, "monitor", "owl") as screens:
        await shows(screens, "loss NaN")
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
        await shows(one, "step 120 of 400")
        await shows(other, "step 120 of 400")
