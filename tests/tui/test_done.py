"""The result of a finished run, and the ways on from it."""

from __future__ import annotations

import pytest

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
        ):  # fmt: skip
            assert wanted in screens.one_line, wanted


async def test_at_80_by_24_the_numbers_and_the_next_command_come_first(finished: MadeRun) -> None:
    async with running(80, 24) as screens:
        await opened(screens, finished)
        assert max(map(len, screens.lines)) <= 80
        assert "3.000 → 0.900" in screens.text
        assert "finetui chat owl" in screens.text
        assert "Mice, hoot!" in screens.text
        assert "Enter home   c chat   n new run" in screens.lines[-1]


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


async def test_chat_says_the_command(finished: MadeRun) -> None:
    async with running(80, 24) as screens:
        await opened(screens, finished)
        await screens.press("c")
        assert "talk to it on the command line: finetui chat owl" in screens.one_line


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
