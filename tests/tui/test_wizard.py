"""The way through the wizard: Enter alone, back and forth, leaving and coming back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from engine.config.draft import DEMO_DATA, DEMO_MODEL, Draft, load_draft
from engine.run.home import finetui_home
from tests.tui.conftest import GPU_MACHINE, Started
from tests.tui.pilot import running, write_draft
from tui.wizard_steps import STEPS, TITLES

ENTERS = [
    "machine",
    "goal",
    "questions",
    "questions",
    "questions",
    "questions",
    "data",
    "model",
    "template",
    "method",
    "review",
]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16)])
async def test_enter_alone_ends_in_the_demo(
    size: tuple[int, int], started: Started, watched: list[str]
) -> None:
    async with running(*size) as screens:
        for page in ENTERS:
            await screens.press("enter")
            assert screens.at == page
        await screens.press("enter")
        assert screens.at == "HomeScreen"
    assert watched == ["demo"]
    config = started[0].config
    assert config.model.model_name_or_path == DEMO_MODEL
    assert config.data.train[0].path == DEMO_DATA
    assert config.method.tuning == "lora"
    assert not config.model.load_in_4bit
    assert not (finetui_home() / "draft.json").exists()


async def test_impatient_enters_are_not_lost_or_doubled(started: Started, watched: list[str]) -> None:
    async with running() as screens:
        await screens.pilot.press(*["enter"] * 40)
        for _ in range(100):
            await screens.settle()
            if watched:
                break
            await screens.pilot.press("enter")
    assert watched[:1] == ["demo"]
    assert len({plan.name for plan in started}) == 1


async def test_after_a_start_only_card_and_price_stay(started: Started, watched: list[str]) -> None:
    write_draft(Draft(step="review", goal="task", gpu=0, price_per_hour=0.69, name="mine"))
    async with running() as screens:
        await screens.press("enter", "enter")
        assert screens.at == "HomeScreen"
        assert "Go on" not in screens.text
    assert load_draft() == Draft(gpu=0, price_per_hour=0.69)
    async with running() as screens:
        assert "▸ New fine-tune" in screens.text


@pytest.mark.parametrize("step", STEPS)
async def test_the_step_line_says_where_you_are(step: str) -> None:
    write_draft(Draft(step=step))
    async with running() as screens:
        await screens.press("enter")
        line = screens.lines[0]
        assert line.count("●") == 1
        assert all(title in line for title in TITLES)
        assert line.count("✓") + line.count("○") + 1 == len(TITLES)


async def test_back_and_forth_loses_no_answer(tmp_path: Path, started: Started, watched: list[str]) -> None:
    data = tmp_path / "work" / "mine.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"q{i}", "completion": f"a{i}"}) + "\n" for i in range(30)))
    async with running() as screens:
        await screens.press("enter", "dollar_sign")
        await screens.type("0.69")
        await screens.press("enter", "enter")
        await screens.press("down", "enter")  # a task
        await screens.press("down", "enter", "down", "enter", "down", "enter", "enter")
        assert screens.at == "data"
        await screens.press("down", "enter")
        assert screens.at == "model"
        await screens.press("home", "enter", "enter", "end", "tab")
        await screens.type("2")
        answers = asdict(screens.app.the_draft())
        assert answers["goal"] == "task"
        assert answers["data_path"] == str(data)
        assert answers["tuning"] == "full"
        assert answers["settings"] == {"num_train_epochs": "2"}
        assert answers["price_per_hour"] == 0.69
        assert answers["answers"]["changes"] == "sometimes"
        for _ in range(12):
            if screens.at == "HomeScreen":
                break
            await screens.press("escape")
        assert screens.at == "HomeScreen"
        await screens.press("enter")  # go on
        for _ in ENTERS:
            if screens.at == "method":
                break
            await screens.press("enter")
        assert asdict(screens.app.the_draft()) == answers | {"step": "method"}
        assert "Full" in next(line for line in screens.lines if "▸" in line)


async def test_leaving_and_coming_back_continues() -> None:
    async with running() as screens:
        await screens.press("enter", "enter", "down", "enter", "enter", "down", "enter")
        assert "Question 3" in screens.text
        await screens.press("q")
        assert screens.app.farewell == ["Your answers are kept. Go on with: finetui"]
    draft = load_draft()
    assert (draft.step, draft.goal) == ("questions", "task")
    assert draft.answers == {"changes": "no", "prompt": "untried"}
    async with running() as screens:
        assert "you were at: Goal" in screens.text
        await screens.press("enter")
        assert screens.at == "questions"


async def test_finetui_wizard_opens_where_the_draft_stands() -> None:
    write_draft(Draft(step="model"))
    async with running(start="wizard") as screens:
        assert screens.at == "model"
        await screens.press("escape", "escape", "escape", "escape", "escape", "escape")


async def test_a_home_that_cannot_be_written_is_said_and_does_not_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FINETUI_HOME", str(blocked / "below"))
    async with running() as screens:
        await screens.press("enter")
        assert "folder for runs cannot be created" in screens.one_line
        assert "FINETUI_HOME=" in screens.one_line
        await screens.press("enter")
        assert screens.at == "goal"


# The usual sizes are captured whole in tests/captures.
@pytest.mark.parametrize("size", [(20, 5), pytest.param((40, 12), marks=pytest.mark.thorough)])
@pytest.mark.parametrize("step", STEPS)
async def test_no_page_breaks_at_any_size(
    step: str, size: tuple[int, int], computer: dict[str, object]
) -> None:
    computer["machine"] = GPU_MACHINE
    write_draft(Draft(step=step))
    async with running(*size) as screens:
        await screens.press("enter")
        await screens.pilot.resize_terminal(30, 8)
        await screens.settle()
        await screens.pilot.resize_terminal(*size)
        await screens.settle()
        assert screens.at == step
        assert max(map(len, screens.lines)) <= size[0]


@pytest.mark.parametrize("step", [step for step in STEPS if step != "method"])
async def test_at_80x24_every_page_of_the_demo_fits_without_scrolling(step: str) -> None:
    write_draft(Draft(step=step))
    async with running() as screens:
        await screens.press("enter")
        body = screens.app.screen.query_one("#body")
        assert body.max_scroll_y == 0


async def test_a_mistake_of_ours_is_written_down_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("tui.screens.data.read_dataset", broken)
    write_draft(Draft(step="data"))
    async with running() as screens:
        await screens.press("enter")
        assert "Something in finetui broke: ZeroDivisionError" in screens.one_line
        assert screens.app.is_running
    assert "ZeroDivisionError: ours" in (finetui_home() / "tui-crash.log").read_text()


async def test_keys_are_enough_without_letters(started: Started, watched: list[str]) -> None:
    """Arrows, Tab, Enter and Esc alone get to the end and back."""
    async with running() as screens:
        await screens.press(*["enter"] * 9)
        assert screens.at == "template"
        await screens.press("escape", "escape", "enter", "enter", "enter", "tab", "tab", "enter", "enter")
    assert len(started) == 1
