"""Goal and data decide together what is learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.advise.choose_objective import choose_objective, look
from engine.config.draft import DEMO_DATA, DEMO_MODEL, Draft, plan
from engine.data.sources import spec_of
from tests.e2e.in_process import RECIPES

FILES = {
    "talks": DEMO_DATA,
    "pairs": str(RECIPES / "data" / "preferences.jsonl"),
    "thumbs": str(RECIPES / "data" / "thumbs.jsonl"),
    "sums": str(RECIPES / "data" / "sums.jsonl"),
    "texts": str(RECIPES / "data" / "texts.jsonl"),
}


@pytest.mark.parametrize(
    ("goal", "data", "objective", "words"),
    [
        ("style", "talks", "sft", "You want a style"),
        ("knowledge", "texts", "cpt", "You want knowledge"),
        ("task", "texts", "sft", "all of it is learnt, not only answers"),
        ("knowledge", "talks", "sft", "For cpt they would need plain texts"),
        ("preferences", "pairs", "dpo", "You want better answers"),
        ("preferences", "thumbs", "kto", "marked good or bad"),
        ("preferences", "talks", "sft", "For dpo they would need a better and a worse answer"),
        ("reasoning", "sums", "grpo", "You want reasoning"),
        ("reasoning", "pairs", "dpo", "format prompts"),
        ("style", "pairs", "dpo", "learn only the chosen answers): format chosen"),
        ("style", "thumbs", "kto", "format good"),
        (None, "pairs", "dpo", "preference pairs"),
        (None, "texts", "cpt", "text"),
    ],
)
def test_the_goal_is_served_as_far_as_the_data_allow(
    goal: str | None, data: str, objective: str, words: str
) -> None:
    choice = choose_objective(goal, look(spec_of(FILES[data])))
    assert choice.value == objective
    assert words in choice.reason
    assert objective not in choice.alternatives


def test_worked_solutions_that_nothing_can_check_are_imitated(tmp_path: Path) -> None:
    path = tmp_path / "solutions.jsonl"
    row = {"question": "Why is the sky blue?", "answer": "Because the air scatters blue light more. " * 8}
    path.write_text("".join(json.dumps({**row, "id": number}) + "\n" for number in range(5)))
    choice = choose_objective("reasoning", look(spec_of(str(path))))
    assert choice.value == "sft"
    assert "reward function of your own" in choice.reason


def test_the_draft_takes_the_objective_and_keeps_settings_of_others_out() -> None:
    draft = Draft(
        data_path=FILES["pairs"], model=DEMO_MODEL, goal="preferences", settings={"num_generations": "4"}
    )
    made = plan(draft, None)
    assert made.config.method.objective == "dpo"
    assert made.choices["objective"].reason in made.yaml
    assert "num_generations" not in made.yaml
    by_hand = plan(
        Draft(data_path=FILES["pairs"], model=DEMO_MODEL, settings={"objective": "orpo", "beta": "0.2"}), None
    )
    assert (by_hand.config.method.objective, by_hand.config.method.beta) == ("orpo", 0.2)
    chosen = plan(
        Draft(data_path=FILES["pairs"], model=DEMO_MODEL, goal="style", settings={"format": "chosen"}), None
    )
    assert chosen.config.method.objective == "sft"
