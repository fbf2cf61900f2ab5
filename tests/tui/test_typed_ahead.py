"""Keys that come before the next screen stands: none is lost, none opens a screen twice."""

from __future__ import annotations

import pytest
from textual import events

from engine.config.draft import Draft
from tests.tui.pilot import Screens, running, write_draft
from tui.screens.ask import AskScreen
from tui.screens.confirm import ConfirmScreen


async def burst(screens: Screens, *keys: str) -> None:
    """Keys that are all there before the first of them is acted on."""
    for key in keys:
        screens.app.post_message(events.Key(key, "\r" if key == "enter" else key))
    for _ in range(4):
        await screens.settle()


def stack(screens: Screens) -> list[str]:
    return [type(screen).__name__ for screen in screens.app.screen_stack[1:]]


@pytest.mark.parametrize(("count", "at"), [(1, "MachineScreen"), (2, "GoalScreen"), (3, "QuestionsScreen")])
async def test_every_enter_is_one_step(count: int, at: str) -> None:
    async with running() as screens:
        await burst(screens, *["enter"] * count)
        assert stack(screens) == ["HomeScreen", at]


async def test_from_a_later_step_too() -> None:
    write_draft(Draft(step="model"))
    async with running() as screens:
        await burst(screens, *["enter"] * 3)
        assert stack(screens)[0] == "HomeScreen"
        assert len(stack(screens)) == 2
        assert screens.at == "method"


async def test_a_question_is_answered_once() -> None:
    answers: list[str | None] = []
    async with running() as screens:
        dialog = ConfirmScreen("Delete it?", ["It is large."], [("keep", "Keep it"), ("delete", "Delete it")])
        screens.app.push_screen(dialog, answers.append)
        await screens.settle()
        await burst(screens, "enter", "enter")
        assert answers == ["keep"]
        assert stack(screens) == ["HomeScreen", "MachineScreen"]  # the second Enter was Home's


async def test_a_field_is_taken_once() -> None:
    answers: list[str | None] = []
    async with running() as screens:
        screens.app.push_screen(AskScreen("Name", "What is it called?", "owl"), answers.append)
        await screens.settle()
        await burst(screens, "enter", "enter")
        assert answers == ["owl"]
