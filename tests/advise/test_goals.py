"""Goals and the three questions."""

from __future__ import annotations

import itertools
from dataclasses import fields

from engine.advise.goals import GOALS, QUESTIONS, Answers, find_goal, triage


def test_every_goal_says_how_it_is_taught() -> None:
    assert [goal.id for goal in GOALS] == ["style", "task", "knowledge", "preferences", "reasoning"]
    for goal in GOALS:
        assert goal.title
        assert goal.explanation.endswith(".")
        assert goal.data.endswith(".")
        assert goal.trainable_now
        assert goal.now.startswith("Taught by ")
    assert find_goal("style") is GOALS[0]
    assert find_goal("nothing") is None


def test_questions_match_the_answers() -> None:
    assert [question.id for question in QUESTIONS] == [field.name for field in fields(Answers)]
    defaults = Answers()
    for question in QUESTIONS:
        assert question.text.endswith("?")
        assert question.options[0][0] == getattr(defaults, question.id)


def everything() -> list[tuple[Answers, str | None]]:
    options = [[value for value, _ in question.options] for question in QUESTIONS]
    goals = [None, *(goal.id for goal in GOALS)]
    return [(Answers(*picked), goal) for picked in itertools.product(*options) for goal in goals]  # type: ignore[arg-type]


def test_every_combination_gets_advice_with_reasons() -> None:
    seen = set()
    for answers, goal in everything():
        advice = triage(answers, goal)
        seen.add(advice.verdict)
        assert advice.reasons
        assert all(reason.endswith(".") for reason in advice.reasons)
        if answers.prompt == "yes":
            assert "fine-tun" not in advice.verdict
        if answers.examples in ("few", "none"):
            assert advice.verdict in ("prompting first", "RAG")
        if answers.changes == "often":
            assert advice.verdict.startswith("RAG")
        if "RAG" in advice.verdict:
            assert answers.changes != "no"
    assert seen == {"fine-tune", "prompting first", "RAG", "RAG plus fine-tuning"}


def test_typical_cases() -> None:
    assert triage(Answers()).verdict == "fine-tune"
    assert triage(Answers("no", "yes", "many")).verdict == "prompting first"
    assert triage(Answers("often", "no", "many"), "knowledge").verdict == "RAG plus fine-tuning"
    assert triage(Answers("often", "untried", "none")).verdict == "RAG"
    assert triage(Answers("sometimes", "no", "some"), "style").verdict == "fine-tune"
    assert triage(Answers("sometimes", "no", "some"), "knowledge").verdict == "RAG plus fine-tuning"
    assert triage(Answers("no", "untried", "some")).verdict == "prompting first"
    assert triage(Answers("no", "no", "few")).verdict == "prompting first"
    assert any("exact" in reason for reason in triage(Answers(), "knowledge").reasons)
