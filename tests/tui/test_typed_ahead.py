"""Keys that come before the next screen stands: none is lost, none opens a screen twice."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from textual import events
from textual.worker import WorkerCancelled

from engine.config.draft import Draft
from tests.tui.conftest import Started
from tests.tui.pilot import Screens, running, write_draft
from tui.screens.ask import AskScreen
from tui.screens.confirm import ConfirmScreen


async def burst(screens: Screens, *keys: str) -> None:
    """Keys that are all there before the first of them is acted on."""
    for key in keys:
        screens.app.post_message(events.Key(key, "\r" if key == "enter" else key if len(key) == 1 else None))
    await asyncio.sleep(0)
    while screens.app._turns is not None and not screens.app._turns.done():
        with contextlib.suppress(WorkerCancelled):  # a key may take the screen away from what works for it
            await screens.settle()
    await screens.settle()


def stack(screens: Screens) -> list[str]:
    return [type(screen).__name__ for screen in screens.app.screen_stack[1:]]


@pytest.mark.parametrize(("count", "at"), [(1, "MachineScreen"), (2, "GoalScreen"), (3, "QuestionsScreen")])
async def test_every_enter_is_one_step(count: int, at: str) -> None:
    async with running() as screens:
        await burst(screens, *["enter"] * count)
        assert stack(screens) == ["HomeScreen", at]


async def test_from_a_later_step_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.in_turn.GOING", 3.0)  # what a step has to read may take longer on a busy machine
    write_draft(Draft(step="model"))
    async with running() as screens:
        await burst(screens, *["enter"] * 3)
        await screens.until(lambda: screens.at == "method", "the step after the next one")
        assert stack(screens)[0] == "HomeScreen"
        assert len(stack(screens)) == 2


@pytest.mark.parametrize(
    ("keys", "at"),
    [
        ("enter escape escape enter", "MachineScreen"),
        ("question_mark escape n", "MachineScreen"),
        ("slash x q escape question_mark", "HelpScreen"),
        ("ctrl+p escape escape n n escape", "HomeScreen"),
    ],
)
async def test_keys_count_in_their_order(keys: str, at: str) -> None:
    async with running() as screens:
        await burst(screens, *keys.split())
        assert stack(screens)[-1] == at
        assert screens.app.is_running


@pytest.mark.parametrize(
    ("keys", "answer", "then"),
    [
        ("enter enter", "keep", ["HomeScreen", "MachineScreen"]),  # the second Enter is Home's
        ("enter escape", "keep", ["HomeScreen"]),
        ("down enter escape escape", "delete", ["HomeScreen"]),
        ("escape down enter", None, ["HomeScreen"]),  # down is Home's as well: the line of the demo
    ],
)
async def test_a_question_is_answered_once(
    keys: str, answer: str | None, then: list[str], started: Started, watched: list[str]
) -> None:
    answers: list[str | None] = []
    async with running() as screens:
        dialog = ConfirmScreen("Delete it?", ["It is large."], [("keep", "Keep it"), ("delete", "Delete it")])
        screens.app.push_screen(dialog, answers.append)
        await screens.settle()
        await burst(screens, *keys.split())
        assert answers == [answer]
        assert stack(screens) == then
    assert len(started) == (answer is None)


async def test_a_demo_asked_for_thrice_is_one_demo(started: Started, watched: list[str]) -> None:
    started.seconds = 0.2
    async with running() as screens:
        await screens.pilot.press("d")
        await screens.pilot.pause(0.1)
        await burst(screens, "d", "d")
        assert watched == ["demo"]
    assert len(started) == 1


async def test_a_field_is_taken_once() -> None:
    answers: list[str | None] = []
    async with running() as screens:
        screens.app.push_screen(AskScreen("Name", "What is it called?", "owl"), answers.append)
        await screens.settle()
        await burst(screens, "end", "s", "enter", "n")
        assert answers == ["owls"]
        assert stack(screens) == ["HomeScreen", "MachineScreen"]  # n is Home's
