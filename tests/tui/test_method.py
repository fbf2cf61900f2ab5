"""Method: ways to train, settings with reasons, and values that are not possible."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.draft import Draft, plan
from engine.config.tuning import suggest_tuning, tuning_of
from engine.display import GIB
from engine.fit.decide import METHODS
from engine.machine import Machine
from tests.machine.builders import CARD, machine
from tests.tui.pilot import running, write_draft
from tui.screens.method import FIELDS, SettingInput, look_at
from tui.tuning import TUNINGS
from tui.widgets.memory_bar import MemoryBar


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(key, value, marks=[] if number < 2 else [pytest.mark.thorough])
        for number, (key, _) in enumerate(FIELDS)
        for value in ("abc", "-3")
    ],
)
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


@pytest.mark.parametrize("height", [40, 16])  # the low page scrolls, with the same arrows
async def test_arrows_move_between_the_fields(height: int) -> None:
    async with running(80, height) as screens:
        await screens.press("enter", "tab", "down")
        assert "▸ Learning rate" in screens.text
        await screens.press("up")
        assert "▸ Epochs" in screens.text


def own_data(num_rows: int = 300) -> str:
    path = Path("mine.jsonl")
    path.write_text(
        json.dumps({"prompt": "q", "completion": "a"})
        + "\n"
        + '{"prompt":"q","completion":"a"}\n' * (num_rows - 1)
    )
    return str(path.absolute())


def on_a_card(computer: dict[str, Machine], **answers: object) -> None:
    computer["machine"] = machine(CARD)
    write_draft(Draft(**{"step": "method", "model": "Qwen/Qwen3-8B", "data_path": own_data(), **answers}))  # type: ignore[arg-type]


async def test_memory_of_each_method_and_the_bar_of_the_marked_one(computer: dict[str, Machine]) -> None:
    on_a_card(computer)
    async with running(100, 40) as screens:
        await screens.press("enter")
        assert "▸ LoRA " in screens.text
        assert re.search(r"QLoRA, 4-bit +✓ +\d+\.\d GiB", screens.text)
        assert re.search(r"Full +✗ +\d+\.\d GiB", screens.text)
        assert "Memory of this card: ✓ fits" in screens.text
        assert "model 15.3" in screens.text
        assert "23.6 GiB free" in screens.text
        assert "It fits: " in screens.one_line
        assert "make it fit" not in screens.lines[-1]
        await screens.press("down")
        assert "model 5.7" in screens.text


async def test_everything_is_on_a_small_screen(computer: dict[str, Machine]) -> None:
    on_a_card(computer)
    async with running() as screens:
        await screens.press("enter")
        assert "▸ LoRA " in screens.text
        assert "LoRA rank" in screens.text
        assert "CUDA 0.5 GiB" in screens.text
        assert "It fits: " in screens.one_line


async def test_the_bar_follows_a_value_while_it_is_typed(computer: dict[str, Machine]) -> None:
    on_a_card(computer, settings={"per_device_train_batch_size": "1"})
    async with running(100, 40) as screens:
        await screens.press("enter", *["tab"] * 5)
        bar = screens.app.screen.query_one(MemoryBar)
        before = bar.text
        await screens.pilot.press(*"8192")
        for _ in range(30):
            await screens.settle()
            if bar.text != before:
                break
            await screens.pilot.pause(0.1)
        assert bar.text != before
        assert screens.app.focused is not None
        assert screens.app.focused.id == "set-max_length"
        field = screens.app.screen.query_one("#set-max_length", SettingInput)
        assert field.value == "8192"


async def test_f_applies_what_makes_it_fit(computer: dict[str, Machine]) -> None:
    on_a_card(computer, tuning="lora", settings={"per_device_train_batch_size": "16", "max_length": "4096"})
    async with running(100, 40) as screens:
        await screens.press("enter")
        assert "Memory of this card: ✗ does not fit" in screens.text
        assert "f make it fit" in screens.lines[-1]
        assert "This makes it fit: " in screens.one_line
        await screens.press("f")
        assert "Memory of this card: ✓ fits" in screens.text
        settings = screens.app.the_draft().settings
        batch = int(settings["per_device_train_batch_size"])
        assert batch < 16
        assert batch * int(settings["gradient_accumulation_steps"]) >= 16
        assert next(line for line in screens.lines if "Batch size" in line).split()[2] == str(batch)
        await screens.press("f")
        assert "It fits as it is." in screens.text


async def test_f_changes_the_method_where_it_must(computer: dict[str, Machine]) -> None:
    on_a_card(computer, tuning="full")
    async with running(100, 40) as screens:
        await screens.press("enter", "f")
        assert screens.app.the_draft().tuning != "full"
        assert "▸ Full" not in screens.text
        assert "Memory of this card: ✓ fits" in screens.text


async def test_what_no_setting_makes_fit_says_so(computer: dict[str, Machine]) -> None:
    on_a_card(computer, model="meta-llama/Llama-3.1-405B-Instruct")
    async with running(100, 40) as screens:
        await screens.press("enter", "f")
        assert "No setting makes it fit: choose a smaller model" in screens.one_line
        assert "▸ QLoRA" in screens.text


async def test_without_a_card_the_planned_one_is_shown(computer: dict[str, Machine]) -> None:
    write_draft(
        Draft(step="method", model="Qwen/Qwen3-8B", data_path=own_data(), answers={"card": "RTX 4090"})
    )
    async with running(100, 40) as screens:
        await screens.press("enter")
        assert "Memory of RTX 4090: ✓ fits" in screens.text
        await screens.press("enter")
        assert screens.at == "review"


def test_the_suggestion_is_what_the_plan_would_take() -> None:
    data = own_data()
    asked = Draft(model="Qwen/Qwen3-8B", data_path=data, settings={"max_length": "nonsense"})
    for free, tuning in ((23, "lora"), (12, "qlora")):
        card = replace(CARD, memory_free=free * GIB)
        choice = suggest_tuning(asked, machine(card))
        assert choice.value == tuning
        assert f"{free}.0 GiB are free" in choice.reason
    assert suggest_tuning(asked, machine()).value == "lora"
    assert suggest_tuning(replace(asked, data_path="/no/such/file"), machine()).value == "lora"


def test_the_last_layers_need_less_than_all() -> None:
    settings = {"max_length": "512", "per_device_train_batch_size": "1", "gradient_accumulation_steps": "8"}
    settings |= {"gradient_checkpointing": "on", "optim": "adamw_torch_fused"}
    asked = Draft(model="Qwen/Qwen3-8B", data_path=own_data(), settings=settings)
    cells = look_at(asked, machine(CARD)).cells
    chosen = look_at(replace(asked, tuning="freeze"), machine(CARD)).cells
    assert cells["lora"].p95 < cells["freeze"].p95 < cells["full"].p95
    assert cells["freeze"].p95 == chosen["freeze"].p95


def test_the_ways_to_train_are_those_of_the_engine() -> None:
    assert [one.id for one in TUNINGS] == ["lora", "qlora", "lora8", "freeze", "full"]
    assert all(setup in [one.setup for one in TUNINGS] for setup in METHODS.values())
    for one in TUNINGS:
        assert tuning_of(plan(Draft(tuning=one.id), machine()).config) == one.id
