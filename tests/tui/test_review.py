"""Review: exactly what runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.draft import Draft, plan
from engine.config.loading import load
from engine.errors import UserError
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
    def refuse(*args: object) -> None:
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
