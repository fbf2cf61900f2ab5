"""Goal and the three questions."""

from __future__ import annotations

import itertools

import pytest

from engine.advise.goals import GOALS, QUESTIONS, VERDICT_WORDS
from engine.config.draft import Draft
from tests.tui.pilot import running, write_draft


async def test_every_goal_is_explained_and_kept() -> None:
    for index, goal in enumerate(GOALS):
        write_draft(Draft(step="goal"))
        async with running() as screens:
            await screens.press("enter", "home", *["down"] * index)
            assert goal.title in next(line for line in screens.lines if "▸" in line)
            assert goal.explanation in screens.one_line
            assert goal.data in screens.one_line
            assert goal.now in screens.one_line
            await screens.press("enter")
            assert screens.app.the_draft().goal == goal.id


async def test_a_tall_terminal_explains_all_goals_at_once() -> None:
    write_draft(Draft(step="goal"))
    async with running(120, 40) as screens:
        await screens.press("enter")
        assert all(goal.explanation in screens.one_line for goal in GOALS)


def _combinations() -> list[tuple[str, ...]]:
    return list(itertools.product(*([value for value, _ in question.options] for question in QUESTIONS)))


@pytest.mark.parametrize("values", _combinations()[::5])
async def test_every_verdict_is_shown_and_never_blocks(values: tuple[str, ...]) -> None:
    answers = {question.id: value for question, value in zip(QUESTIONS, values, strict=True)}
    write_draft(Draft(step="questions", goal="knowledge", answers=answers))
    async with running() as screens:
        await screens.press("enter")
        advice = screens.app.screen.advice()  # type: ignore[attr-defined]
        assert VERDICT_WORDS[advice.verdict] in screens.one_line
        assert all(reason in screens.one_line for reason in advice.reasons)
        assert ("fine-tune anyway" in screens.lines[-1]) == (advice.verdict != "fine-tune")
        await screens.press("enter")
        assert screens.at == "data"


async def test_going_back_within_the_questions() -> None:
    write_draft(Draft(step="questions"))
    async with running() as screens:
        await screens.press("enter", "down", "enter", "enter")
        assert "Question 3 of 3" in screens.text
        await screens.press("escape", "escape")
        assert "Question 1 of 3" in screens.text
        assert "Sometimes" in next(line for line in screens.lines if "▸" in line)
        await screens.press("escape")
        assert screens.at == "goal"
