"""The result of a finished run, and the ways on from it."""

from __future__ import annotations

import shutil

import pytest

from engine.config.draft import DEMO_RECIPE
from engine.deliver import at_home
from tests.deliver.exports_sealed import sealed
from tests.deliver.worker_double import Double
from tests.tui.made_runs import MadeRun
from tests.tui.pilot import Screens, running
from tui.screens.done import DoneScreen
from tui.screens.monitor import MonitorScreen


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.monitor.POLL", 0.02)


@pytest.fixture
def finished() -> MadeRun:
    made = MadeRun("owl", max_steps=100)
    made.begin()
    made.train()
    made.evaluate(0, 3.0)
    for when, step, text in (("before", 0, "I do not know."), ("after", 100, "Mice, hoot!")):
        made.writer.emit("sample", when=when, step=step, prompt="What do owls eat?", text=text, stopped=True)
    made.steps(1, 100)
    made.evaluate(100, 0.9)
    made.finish()
    return made


async def opened(screens: Screens, made: MadeRun) -> None:
    screens.app.push_screen(DoneScreen(made.run))
    await screens.settle()


async def test_it_says_what_came_out_and_where_it_is(finished: MadeRun) -> None:
    async with running(120, 40) as screens:
        await opened(screens, finished)
        for wanted in (
            "✓ owl is trained.", "loss 2.", "→ 1.", "held out loss 3.000 → 0.900 on rows it never learned from",
            "lower is better", "100 steps in", "1.0 passes over the rows", "question What do owls eat?", "before I do not know.",
            "after Mice, hoot!", str(finished.run.adapter), str(finished.run.config), "finetui chat owl", "finetui train -c",
            "1 compare not yet", "2 evaluate not yet", "3 export not yet",
            "4 take home not yet: what was learned is only on this machine",
        ):  # fmt: skip
            assert wanted in screens.one_line, wanted


async def test_at_80_by_24_the_numbers_and_the_next_command_come_first(finished: MadeRun) -> None:
    async with running(80, 24) as screens:
        await opened(screens, finished)
        assert max(map(len, screens.lines)) <= 80
        assert "3.000 → 0.900" in screens.text
        assert "finetui chat owl" in screens.text
        assert "Mice, hoot!" in screens.text
        assert "1 compare   2 evaluate   3 export   4 take home   ? help   q leave" in screens.lines[-1]


async def test_a_small_terminal_scrolls(finished: MadeRun) -> None:
    async with running(60, 12) as screens:
        await opened(screens, finished)
        assert " more" in screens.text
        await screens.press("end")
        assert "finetui train -c" in screens.text


async def test_the_monitor_hands_over_what_it_knows(finished: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        monitor = screens.app.screen
        assert isinstance(monitor, MonitorScreen)
        await screens.press("enter")
        assert isinstance(screens.app.screen, DoneScreen)
        assert screens.app.screen._model is monitor.model


@pytest.mark.parametrize("key", ["enter", "escape"])
async def test_home_is_one_key_away(finished: MadeRun, key: str) -> None:
    async with running(80, 24) as screens:
        await opened(screens, finished)
        await screens.press(key)
        assert screens.at == "HomeScreen"


@pytest.mark.parametrize(
    ("key", "screen"),
    [("c", "ChatScreen"), ("1", "CompareScreen"), ("3", "ExportScreen"), ("4", "TakeHomeScreen")],
)
async def test_every_step_is_one_key_away_and_back(
    finished: MadeRun, key: str, screen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.deliver.talk.Worker", Double)
    monkeypatch.setattr("engine.deliver.compare.Worker", Double)
    shutil.copy(DEMO_RECIPE, finished.run.config)
    (finished.run.adapter / "adapter_config.json").write_text("{}")
    async with running(100, 30) as screens:
        await opened(screens, finished)
        await screens.press(key)
        assert screens.at == screen
        await screens.press("escape")
        assert screens.at == "DoneScreen"
        assert ("1 compare looked at" in screens.one_line) == (key == "1")


async def test_the_steps_tell_how_far_one_is(finished: MadeRun) -> None:
    made = sealed(finished.run, "adapter", ("adapter_model.safetensors",))
    sealed(finished.run, "gguf", ("owl-Q4_K_M.gguf",), verdict="differs")
    at_home.mark_home(finished.run, made)
    async with running(100, 30) as screens:
        await opened(screens, finished)
        assert "3 export CHECK FAILED: gguf does not answer like the trained model" in screens.one_line
        assert "4 take home done: what was learned is elsewhere, too" in screens.one_line


async def test_a_stopped_run_with_a_checkpoint_has_a_result(finished: MadeRun) -> None:
    finished.run.adapter.rmdir()
    (finished.run.checkpoints / "checkpoint-40").mkdir()
    finished.end("stopped", "Stopped at step 40 as asked; a checkpoint is saved.")
    finished.writer.emit("finished", outcome="stopped", step=40, words="Stopped.")
    async with running(80, 24, "monitor", "owl") as screens:
        assert "Enter result" in screens.lines[-1]
        await screens.press("enter")
        assert screens.at == "DoneScreen"
        assert "owl did not finish; its newest checkpoint can be used." in screens.text


async def test_a_new_run_begins_with_fresh_answers(finished: MadeRun) -> None:
    async with running(80, 24) as screens:
        await opened(screens, finished)
        await screens.press("n")
        assert screens.at == "machine"
        await screens.press("escape")
        assert screens.at == "HomeScreen"


async def test_leaving_says_how_to_talk_to_it(finished: MadeRun) -> None:
    async with running(80, 24) as screens:
        await opened(screens, finished)
        await screens.press("q")
        assert screens.app.farewell == ["owl is finished. Talk to it: finetui chat owl"]


async def test_a_result_that_was_deleted_is_said(finished: MadeRun) -> None:
    finished.run.adapter.rmdir()
    async with running(120, 40) as screens:
        await opened(screens, finished)
        assert "It is no longer in" in screens.text


async def test_help_explains(finished: MadeRun) -> None:
    async with running(100, 40) as screens:
        await opened(screens, finished)
        await screens.press("question_mark")
        assert "An adapter is the small part that was learned" in screens.one_line
