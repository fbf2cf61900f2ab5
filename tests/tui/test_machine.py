"""Machine: what was found, in words, for every kind of machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.draft import Draft
from engine.errors import UserError
from engine.machine import GpuState, Machine
from tests.fakes.nvml import SCENARIOS, FakeNvml
from tests.machine.builders import CARD, DISK, GIB, machine
from tests.tui.pilot import Screens, running
from tui.planning import report_on, target_of
from tui.screens.machine import machine_report, parse_price
from tui.tuning import MARKS

SECOND = replace(CARD, index=1, uuid="GPU-2222", card_uuid="GPU-2222", name="NVIDIA L4", memory_free=22 * GIB)


async def at_machine(screens: Screens) -> Screens:
    await screens.press("enter")
    assert screens.at == "machine"
    return screens


async def test_one_card(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(CARD)
    async with running() as screens:
        await at_machine(screens)
        assert "NVIDIA GeForce RTX 4090 · 24.0 GiB, 23.6 free · bf16" in screens.text
        assert "16 CPU cores · 64.0 GiB RAM, 60.0 free" in screens.text
        assert "✓ fits  ~ tight  ✗ no" in screens.text
        assert "What fits into 23.6 GiB (2,048 tokens; GiB needed)" in screens.text
        target = target_of(computer["machine"], Draft())
        assert target is not None
        cells = next(found for found in report_on(target, 2048).grid.rows if found.size.billions == 14).cells
        row = next(line for line in screens.lines if "14 B " in line).split()
        assert row[2::2][:4] == [MARKS[cell.verdict][0] for cell in cells]
        assert row[3] == f"{cells[0].p95 / GIB:.1f}"
        assert row[-1] == "QLoRA"
        assert "Suggested: Qwen3-8B with LoRA 16-bit" in screens.text
        assert "tokens fit" in screens.one_line
        assert "other card" not in screens.lines[-1]
        assert "plan for a card" not in screens.lines[-1]


async def test_t_changes_the_length_of_the_texts(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(CARD)
    async with running(120, 40) as screens:
        await at_machine(screens)
        assert "counted with" in screens.text
        assert "Llama-3.3-70B" in screens.text
        before = next(line for line in screens.lines if "32 B " in line)
        await screens.press("t")
        assert "(4,096 tokens; GiB needed)" in screens.text
        assert next(line for line in screens.lines if "32 B " in line) != before
        await screens.press("t", "t", "t", "t", "t", "t")
        assert "(2,048 tokens; GiB needed)" in screens.text


async def test_without_a_card_one_can_be_planned_for() -> None:
    async with running() as screens:
        await at_machine(screens)
        assert "c shows what would fit" in screens.one_line
        assert "14 B" not in screens.text
        await screens.press("c")
        assert "Which card do you plan for?" in screens.text
        await screens.press("escape")
        assert "14 B" not in screens.text
        await screens.press("c", "enter")
        assert "On the RTX 4090, 23.4 GiB (2,048 tokens; GiB needed)" in screens.text
        assert "Suggested: Qwen3-8B" in screens.text
        assert screens.app.the_draft().answers["card"] == "RTX 4090"
        await screens.press("enter")
        assert screens.at == "goal"


async def test_a_small_card_says_why_it_does_not_follow_the_guides_table(
    computer: dict[str, Machine],
) -> None:
    small = replace(CARD, name="NVIDIA GeForce RTX 4060", memory_total=8 * GIB, memory_free=int(7.4 * GIB))
    computer["machine"] = machine(small)
    async with running() as screens:
        await at_machine(screens)
        assert "Suggested: Qwen3-4B-Instruct-2507 with QLoRA 4-bit" in screens.text
        assert "The guides' table says 6.1 GB" in screens.one_line


async def test_a_tiny_card_is_not_told_that_a_larger_model_fits_too(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(replace(CARD, name="NVIDIA GeForce GTX 1050", memory_free=int(1.2 * GIB)))
    async with running() as screens:
        await at_machine(screens)
        assert "Even Qwen3-0.6B with QLoRA 4-bit needs up to" in screens.text
        assert "fits too" not in screens.text


@pytest.mark.parametrize("size", [(60, 16), (50, 20)])
async def test_a_narrow_screen_has_the_whole_table(
    computer: dict[str, Machine], size: tuple[int, int]
) -> None:
    computer["machine"] = machine(CARD)
    async with running(*size) as screens:
        await at_machine(screens)
        row = next(line for line in screens.lines if "1 B " in line)
        assert sum(row.count(mark) for mark in "✓~✗") == 4


async def test_a_card_that_does_not_tell_its_memory(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(replace(CARD, memory_total=0, memory_free=0, memory_reported=False))
    async with running() as screens:
        await at_machine(screens)
        assert "cannot tell what fits" in screens.one_line


async def test_no_card_is_a_state_with_a_way_out() -> None:
    async with running() as screens:
        await at_machine(screens)
        assert "No graphics card (GPU)." in screens.text
        assert "Suggested: HuggingFaceTB/SmolLM2-135M-Instruct" in screens.text
        await screens.press("g")
        assert "no other card" in screens.one_line


async def test_g_goes_through_the_cards_and_the_choice_is_kept(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(CARD, SECOND)
    async with running() as screens:
        await at_machine(screens)
        assert "● GPU 0" in screens.text
        assert "g other card" in screens.lines[-1]
        await screens.press("g")
        assert "● GPU 1: NVIDIA L4" in screens.text
        assert "What fits into 22.0 GiB" in screens.text
        await screens.press("enter", "escape")
        assert "● GPU 1" in screens.text
        await screens.press("g")
        assert "● GPU 0" in screens.text


async def test_eight_cards_fit_on_a_small_screen(computer: dict[str, Machine]) -> None:
    cards = [replace(CARD, index=i, uuid=f"GPU-{i}", card_uuid=f"GPU-{i}") for i in range(8)]
    computer["machine"] = machine(*cards)
    async with running() as screens:
        await at_machine(screens)
        assert "card 1 of 8; g shows the next one" in screens.text
        assert "Suggested" in screens.text


async def test_price(computer: dict[str, Machine]) -> None:
    async with running() as screens:
        await at_machine(screens)
        await screens.press("dollar_sign")
        await screens.type("abc")
        await screens.press("enter")
        assert "This is not a price." in screens.text
        await screens.press("ctrl+u")
        await screens.type("0.69")
        await screens.press("enter")
        assert "$0.69 an hour" in screens.text
        assert screens.app.the_draft().price_per_hour == 0.69
        await screens.press("dollar_sign", "ctrl+u", "escape")
        assert "$0.69 an hour" in screens.text
        await screens.press("dollar_sign", "ctrl+u", "enter")
        assert "an hour" not in screens.text


async def test_look_again_finds_what_changed(computer: dict[str, Machine]) -> None:
    async with running() as screens:
        await at_machine(screens)
        computer["machine"] = machine(CARD)
        await screens.press("l")
        assert "RTX 4090" in screens.text


async def test_warnings(computer: dict[str, Machine]) -> None:
    lost = replace(SECOND, problem="This card has stopped answering.")
    disk = replace(DISK, persistent=False, free=2 * GIB, note="Deleted together with the container.")
    used = replace(CARD, memory_used=9 * GIB)
    computer["machine"] = machine(used, lost, disks=(disk,))
    async with running(100, 40) as screens:
        await at_machine(screens)
        assert "! Other programs use 9.0 GiB of this card." in screens.text
        assert "! GPU 1, NVIDIA L4: This card has stopped answering." in screens.text
        assert "lost when the machine is stopped. Deleted together with the container." in screens.one_line
        assert "! Only 2.0 GiB are free for runs" in screens.text


async def test_a_broken_driver_says_what_to_do(computer: dict[str, Machine]) -> None:
    state = GpuState("mismatch", "The driver and its library have different versions.", "Reboot the machine.")
    computer["machine"] = replace(machine(), gpu_state=state)
    async with running() as screens:
        await at_machine(screens)
        assert "! The driver and its library have different versions." in screens.text
        assert "→ Reboot the machine." in screens.text


# On all of them the engine is tested in tests/machine.
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(one, marks=[pytest.mark.thorough] if at % 3 else [])
        for at, one in enumerate(sorted(SCENARIOS))
    ],
)
def test_every_fake_driver_gives_a_report(fake_nvml: FakeNvml, scenario: str) -> None:
    found = fake_nvml.machine(scenario)
    gpu = next(iter(found.usable_gpus), None)
    target = target_of(found, Draft())
    table = report_on(target, 2048) if target else None
    report = machine_report(found, gpu, 1.5, target, table, 76, 24).plain
    assert "Suggested" in report or "does not tell" in report
    assert "\x1b" not in report
    assert "\u202e" not in report
    if gpu is None:
        assert "No graphics card" in report
    else:
        assert ("What fits into" in report) == (gpu.memory_free > 0)


async def test_the_name_of_a_card_cannot_paint(computer: dict[str, Machine]) -> None:
    computer["machine"] = machine(replace(CARD, name="Evil\x1b[31m[red]\u202eGPU"))
    async with running() as screens:
        await at_machine(screens)
        assert "Evil\\x1b[31m[red]\\u202eGPU" in screens.text


@pytest.mark.parametrize(
    ("text", "price"), [("0.69", 0.69), (" $2 ", 2.0), ("0,5", 0.5), ("", None), ("€1", 1.0), ("0", 0.0)]
)
def test_prices_as_people_type_them(text: str, price: float | None) -> None:
    assert parse_price(text) == price


@given(st.text())
def test_a_price_is_a_number_or_refused(text: str) -> None:
    try:
        price = parse_price(text)
    except UserError:
        return
    assert price is None or 0 <= price < 100_000
