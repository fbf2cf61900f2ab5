"""Method: ways to train, settings with reasons, and values that are not possible."""

from __future__ import annotations

import pytest

from engine.advise import fits
from engine.config.draft import Draft
from engine.display import GIB
from engine.machine import Machine
from tests.machine.builders import CARD, machine
from tests.tui.pilot import running, write_draft
from tui.screens.method import FIELDS
from tui.tuning import TUNINGS, memory_words, recommend_tuning


@pytest.fixture(autouse=True)
def at_method() -> None:
    write_draft(Draft(step="method"))


async def test_defaults_are_shown_with_reasons() -> None:
    async with running() as screens:
        await screens.press("enter")
        assert "▸ LoRA" in screens.text
        assert "suggested" in next(line for line in screens.lines if "▸" in line)
        assert next(line for line in screens.lines if "Learning rate" in line).split()[2] == "0.002"
        await screens.press("tab", "tab")
        assert "▸ Learning rate" in screens.text
        assert "How large each change is." in screens.one_line
        assert "Usual: 2e-4 for LoRA" in screens.one_line


async def test_a_value_of_ones_own_is_kept_and_marked() -> None:
    async with running() as screens:
        await screens.press("enter", "tab", "tab")
        await screens.type("1e-3")
        await screens.press("tab")
        assert screens.app.the_draft().settings == {"learning_rate": "1e-3"}
        assert "set by you" in next(line for line in screens.lines if "Learning rate" in line)
        await screens.press("enter")
        assert "learning_rate: 0.001" in screens.app.screen._plan.yaml  # type: ignore[attr-defined]
        await screens.press("escape", "tab", "tab", "ctrl+u", "tab")
        assert screens.app.the_draft().settings == {}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, _ in FIELDS for value in ("abc", "-3")])
async def test_impossible_values_stay_here_and_say_why(key: str, value: str) -> None:
    async with running() as screens:
        await screens.press("enter", *["tab"] * (1 + [name for name, _ in FIELDS].index(key)))
        await screens.type(value)
        await screens.press("enter")
        assert screens.at == "method"
        assert f"{key} is not possible" in screens.one_line
        assert "▸" in next(line for line in screens.lines if value in line)
        await screens.press("ctrl+u", "enter")
        assert screens.at == "review"


async def test_full_has_no_lora_rank() -> None:
    async with running() as screens:
        await screens.press("enter", "end")
        assert "LoRA rank" not in screens.text
        await screens.press("enter")
        assert "tuning: full" in screens.app.screen._plan.yaml  # type: ignore[attr-defined]


async def test_arrows_move_between_the_fields() -> None:
    async with running() as screens:
        await screens.press("enter", "tab", "down")
        assert "▸ Learning rate" in screens.text
        await screens.press("up")
        assert "▸ Epochs" in screens.text


async def test_memory_of_each_method_is_shown_on_a_card(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(CARD)
    write_draft(Draft(step="method", model="Qwen/Qwen3-8B"))
    async with running(100, 30) as screens:
        await screens.press("enter")
        assert "✓ 6.1 GB" in next(line for line in screens.lines if "QLoRA" in line)
        assert "▸ QLoRA" in screens.text
        assert "QLoRA needs about 6.1 GB where LoRA needs about 22.4 GB" in screens.one_line


@pytest.mark.parametrize(
    ("params_b", "free_gib", "tuning"),
    [
        (8.0, None, "lora"),
        (8.0, 24, "qlora"),
        (8.0, 80, "lora"),
        (None, 24, "qlora"),
        (1000.0, 24, "qlora"),
        (0.6, 24, "lora"),
    ],
)
def test_recommendation(params_b: float | None, free_gib: int | None, tuning: str) -> None:
    choice = recommend_tuning(params_b, free_gib * GIB if free_gib else None)
    assert choice.value == tuning
    assert choice.reason.endswith(".")
    assert set(choice.alternatives) <= {one.id for one in TUNINGS} - {tuning}


def test_memory_words_follow_the_table() -> None:
    lora = next(one for one in TUNINGS if one.id == "lora")
    full = next(one for one in TUNINGS if one.id == "full")
    assert memory_words(lora, 8.0, 80 * GIB) == "✓ 22 GB"
    assert memory_words(lora, 8.0, 10 * GIB) == "✗ 22 GB"
    assert memory_words(lora, 1.0, 80 * GIB).startswith("✓ up to ")
    assert memory_words(full, 8.0, 80 * GIB) == memory_words(lora, 8.0, None) == ""
    assert fits.needed_gb(8.0, "lora_16bit") is not None
