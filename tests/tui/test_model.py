"""Model: the suggestion, verdicts on variants, and refusals that name what to take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.draft import DEMO_MODEL, Draft
from engine.machine import Machine
from tests.machine.builders import CARD, machine
from tests.tui.pilot import running, write_draft
from tui.widgets.choice_list import ChoiceList


def own_data(num_rows: int) -> str:
    path = Path("mine.jsonl")
    path.write_text(
        "".join(json.dumps({"prompt": f"q{i}", "completion": f"a{i}"}) + "\n" for i in range(num_rows))
    )
    return str(path)


async def test_the_demo_model_is_chosen_for_the_demo() -> None:
    write_draft(Draft(step="model"))
    async with running() as screens:
        await screens.press("enter")
        assert "▸ The built-in demo model" in screens.text
        assert "M weights · instruct" in screens.text
        await screens.press("enter")
        assert screens.at == "template"


async def test_for_own_data_a_real_model_is_suggested(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(CARD)
    write_draft(Draft(step="data", goal="task", data_path=own_data(300)))
    async with running() as screens:
        await screens.press("enter", "enter")
        assert "▸ Qwen/Qwen3-8B" in screens.text
        assert "suggested" in next(line for line in screens.lines if "▸" in line)
        assert "✓ LoRA" in next(line for line in screens.lines if "▸" in line)
        assert "of 23.6 GiB with texts of 2,048 tokens" in screens.one_line
        assert "with 300 rows" in screens.one_line
        assert "downloaded from the Hugging Face Hub when the training starts" in screens.one_line
        await screens.press("home")
        assert "For data of your own, take a real model" in screens.one_line
        await screens.press("enter")
        assert screens.app.the_draft().model == DEMO_MODEL
        await screens.press("escape")
        assert "▸ The built-in demo model" in screens.text  # an answer once given stays


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("bartowski/Qwen3-8B-GGUF", "Train Qwen/Qwen3-8B instead."),
        ("Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B"),
        ("/no/such/folder", "There is no such model folder."),
        ("sentence-transformers/all-MiniLM-L6-v2", "does not write text"),
    ],
)
async def test_what_cannot_be_trained_is_refused_with_the_way_out(typed: str, words: str) -> None:
    write_draft(Draft(step="model"))
    async with running() as screens:
        await screens.press("enter", "slash")
        await screens.type(typed)
        await screens.press("enter")
        assert words in screens.one_line
        assert screens.app.the_draft().model == DEMO_MODEL


async def test_a_base_model_with_few_rows_is_advised_against_but_possible() -> None:
    write_draft(Draft(step="data", data_path=own_data(300)))
    async with running() as screens:
        await screens.press("enter", "enter", "slash")
        await screens.type("meta-llama/Meta-Llama-3-8B")
        await screens.press("enter")
        assert "▸ meta-llama/Meta-Llama-3-8B" in screens.text
        assert "300 rows are too few" in screens.one_line
        assert "Better: meta-llama/Meta-Llama-3-8B-Instruct" in screens.one_line
        assert "Gated" in screens.text
        assert "take it anyway" in screens.lines[-1]
        await screens.press("enter")
        assert screens.at == "template"
        assert "not on this disk yet" in screens.one_line


async def test_all_models_can_be_listed_with_what_fits(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(CARD)
    write_draft(Draft(step="model"))
    async with running(120, 40) as screens:
        await screens.press("enter", "a")
        await screens.settle()
        for _ in range(20):
            await screens.settle()
        await screens.press("end", "up", "up")
        choices = screens.app.screen.query_one(ChoiceList)
        lines = {option.id: str(option.prompt) for option in choices.options}
        assert len(lines) > 100
        unknown = [one for one, line in lines.items() if not any(mark in line for mark in "✓~✗")]
        assert unknown == [DEMO_MODEL]
        large = lines["meta-llama/Llama-3.1-405B-Instruct"]
        assert "✗ QLoRA" in large
        assert "✓ LoRA" in lines["Qwen/Qwen3-0.6B"]
        await screens.press("enter")
        assert screens.app.the_draft().model != DEMO_MODEL


async def test_a_model_that_does_not_fit_says_what_it_would_need_and_can_be_taken(
    computer: dict[str, Machine],
) -> None:
    computer["machine"] = machine(CARD)
    write_draft(Draft(step="model", data_path=own_data(300)))
    async with running(100, 40) as screens:
        await screens.press("enter", "slash")
        await screens.type("Qwen/Qwen2.5-72B-Instruct")
        await screens.press("enter")
        assert "It does not fit here: even QLoRA 4-bit needs up to" in screens.one_line
        assert "a card such as the" in screens.one_line
        await screens.press("enter")
        assert screens.app.the_draft().model == "Qwen/Qwen2.5-72B-Instruct"


async def test_a_planned_card_is_what_the_list_is_for() -> None:
    write_draft(Draft(step="model", data_path=own_data(300), answers={"card": "A100 80GB"}))
    async with running(100, 40) as screens:
        await screens.press("enter")
        assert "▸ Qwen/Qwen3-8B" in screens.text
        assert "✓ LoRA" in next(line for line in screens.lines if "▸" in line)


async def test_another_model_takes_its_own_method() -> None:
    write_draft(Draft(step="model", tuning="full"))
    async with running() as screens:
        await screens.press("enter", "down", "enter")
        assert screens.app.the_draft().tuning is None


async def test_a_name_cannot_paint() -> None:
    write_draft(Draft(step="model", model="evil/\x1b[31m[red]x"))
    async with running() as screens:
        await screens.press("enter")
        assert "\\x1b[31m[red]x" in screens.text
        await screens.press("enter")
        assert screens.at == "model"
