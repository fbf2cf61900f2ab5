"""Review: exactly what runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.draft import DEMO_DATA, Draft, plan
from engine.config.loading import load
from engine.errors import UserError
from engine.machine import Machine
from tests.machine.builders import CARD, DISK, machine
from tests.tui.conftest import CPU_MACHINE, Started
from tests.tui.pilot import running, write_draft


@pytest.fixture(autouse=True)
def at_review() -> None:
    write_draft(Draft(step="review"))


async def test_the_yaml_and_the_command_are_shown() -> None:
    async with running(120, 40) as screens:
        await screens.press("enter")
        made = plan(Draft(), CPU_MACHINE)
        assert made.command in screens.one_line
        shown = screens.one_line
        for line in made.yaml.splitlines()[:20]:
            assert line.strip().split("  # ")[0] in shown
        before = screens.text
        await screens.press("pagedown")
        assert screens.text != before


async def test_rename(started: Started, watched: list[str]) -> None:
    async with running() as screens:
        await screens.press("enter", "n", "ctrl+u")
        await screens.type("../x")
        await screens.press("enter")
        assert "This run name cannot be used." in screens.text
        await screens.press("ctrl+u")
        await screens.type("my-owl")
        await screens.press("enter")
        assert "This will run: my-owl" in screens.text
        assert "--name my-owl" in screens.one_line
        await screens.press("enter")
    assert started[0].name == "my-owl"
    assert watched == ["my-owl"]


async def test_saving_never_overwrites_and_loads_back() -> None:
    Path("run.yaml").write_text("mine")
    async with running() as screens:
        await screens.press("enter", "s")
        assert "run-2.yaml" in screens.one_line
    assert Path("run.yaml").read_text() == "mine"
    assert load(Path("run-2.yaml")).model_dump() == plan(Draft(), CPU_MACHINE).config.model_dump()


async def test_a_start_that_fails_is_said_and_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, watched: list[str]
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise UserError("The disk is full.", "/runs/demo", "Free some space.")

    monkeypatch.setattr("engine.config.draft.start", refuse)
    monkeypatch.setattr("engine.run.launch.require_training_packages", lambda: None)
    async with running() as screens:
        await screens.press("enter", "enter")
        assert screens.at == "review"
        assert "The disk is full." in screens.text
        assert watched == []
        await screens.press("escape")
        assert screens.at == "method"


async def test_data_that_went_away_is_said_here(tmp_path: Path) -> None:
    write_draft(Draft(step="review", data_path=str(tmp_path / "gone.jsonl")))
    async with running() as screens:
        await screens.press("enter", "enter")
        assert screens.at == "review"
        assert "There is no such dataset file." in screens.text


async def test_two_enters_start_one_run(started: Started, watched: list[str]) -> None:
    async with running() as screens:
        await screens.press("enter")
        await screens.pilot.press("enter", "enter", "enter")
        await screens.settle()
    assert len(started) == 1


def too_large(computer: dict[str, Machine], tuning: str = "full") -> None:
    computer["machine"] = machine(CARD)
    data = Path("mine.jsonl").absolute()
    data.write_text('{"prompt":"q","completion":"a"}\n' * 300)
    write_draft(Draft(step="review", model="Qwen/Qwen3-8B", data_path=str(data), tuning=tuning))


async def test_the_bar_and_the_verdict_are_shown(computer: dict[str, Machine]) -> None:
    too_large(computer, "lora")
    for size in ((80, 24), (120, 40)):
        async with running(*size) as screens:
            await screens.press("enter")
            assert "✓ It fits: " in screens.text
            assert "model 15.3" in screens.text
            assert "23.6 GiB free" in screens.text
            before = screens.text
            await screens.press("end")
            assert screens.text != before


async def test_a_start_that_does_not_fit_asks_first(
    computer: dict[str, Machine], started: Started, watched: list[str]
) -> None:
    too_large(computer)
    async with running() as screens:
        await screens.press("enter")
        assert "✗ It does not fit" in screens.text
        await screens.press("enter")
        assert "It will most likely run out of memory. Start anyway?" in screens.text
        assert "This makes it fit: " in screens.one_line
        await screens.press("escape")
        assert screens.at == "review"
        assert not started
        await screens.press("enter", "end", "enter")
    assert [plan.config.method.tuning for plan in started] == ["full"]
    assert watched == [started[0].name]


async def test_the_question_can_make_it_fit(
    computer: dict[str, Machine], started: Started, watched: list[str]
) -> None:
    too_large(computer)
    async with running() as screens:
        await screens.press("enter", "enter")
        assert "▸ Make it fit first" in screens.text
        await screens.press("enter")
        assert screens.at == "review"
        assert "✓ It fits: " in screens.text
        assert not started
        await screens.press("enter")
    fit = started[0].fit
    assert fit is not None
    assert fit.verdict == "fits"


async def test_without_a_card_the_screen_says_what_counts() -> None:
    async with running() as screens:
        await screens.press("enter")
        assert "main memory is what counts" in screens.one_line


async def test_what_it_costs_beside_the_card_is_shown_and_a_full_disk_asks(
    computer: dict[str, Machine], started: Started
) -> None:
    too_large(computer, "lora")
    computer["machine"] = machine(CARD, disks=(replace(DISK, free=2**30),))
    async with running(120, 40) as screens:
        await screens.press("enter")
        assert "Disk: " in screens.text
        assert "not enough" in screens.text
        assert "Time: " in screens.text
        await screens.press("enter")
        assert "It will most likely fail. Start anyway?" in screens.text
        assert "▸ Do not start" in screens.text
        await screens.press("enter")
        assert screens.at == "review"
        assert not started
        await screens.press("enter", "end", "enter")
    assert len(started) == 1


async def test_example_rewards_are_shown_and_a_broken_one_asks_first(started: Started) -> None:
    sums = str(Path(DEMO_DATA).parents[1] / "recipes" / "data" / "sums.jsonl")
    settings: dict[str, object] = {"objective": "grpo", "reward_funcs": ["numeric"]}
    write_draft(Draft(step="review", data_path=sums, settings=settings))
    async with running(120, 60) as screens:
        await screens.press("enter")
        assert "What the reward functions say of example answers:" in screens.text
        assert [line.split()[1:4:2] for line in screens.lines if "│ right" in line] == [
            ["right", "1.00"],
        ] * 3
    own = Path("rewards.py").absolute()
    own.write_text(
        "def reward(completions, **columns):\n    return [1 / len(text) for text in completions]\n"
    )
    write_draft(Draft(step="review", data_path=sums, settings={"objective": "grpo", "reward_file": str(own)}))
    async with running(80, 60) as screens:
        await screens.press("enter")
        assert "✗ The reward function reward failed: ZeroDivisionError" in screens.one_line
        assert "on the answer: ''" in screens.one_line
        await screens.press("enter")
        assert "It will most likely fail. Start anyway?" in screens.text
        await screens.press("enter")
    assert not started
