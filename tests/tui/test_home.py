"""Home: what to do, and every run."""

from __future__ import annotations

import time

import pytest

from engine.config.draft import DEMO_DATA, DEMO_MODEL, Draft
from engine.run.layout import RunDir, create
from engine.run.state import RunState, list_runs
from tests.tui.conftest import Started
from tests.tui.pilot import running, write_draft
from tui.app import only_live_run
from tui.screens.home import ago, run_line


def run_state(**changes: object) -> RunState:
    values: dict[str, object] = {
        "name": "support", "path": "/runs/support", "state": "running", "words": "running", "phase": "train",
        "step": 37, "max_steps": 100, "epoch": 1.0, "loss": 0.8125, "eval_loss": None, "started": time.time() - 600,
        "updated": time.time(), "attempt": 1, "model": "Qwen/Qwen3-8B", "method": "lora", "dataset": "support.jsonl",
    }  # fmt: skip
    return RunState(**(values | changes))  # type: ignore[arg-type]


def finished_run(name: str, model: str = "demo") -> RunDir:
    run = create(name)
    run.config.write_text("model: {}\n")
    started = f'{{"v": 1, "seq": 1, "t": {time.time() - 100}, "kind": "phase", "phase": "start", "model": "{model}"}}\n'
    ended = f'{{"v": 1, "seq": 2, "t": {time.time() - 60}, "kind": "finished", "step": 9, "max_steps": 9, "loss": 0.03125}}\n'
    run.events.write_text(started + ended)
    run.lock.touch()
    return run


async def test_the_first_time_it_says_what_this_is() -> None:
    async with running() as screens:
        assert "teaches a language model with your examples" in screens.text
        assert "▸ New fine-tune" in screens.text
        assert max(map(len, screens.lines)) <= 80


async def test_runs_are_listed_newest_first_with_state_in_words() -> None:
    finished_run("owl-1")
    async with running() as screens:
        line = next(line for line in screens.lines if "owl-1" in line)
        assert "finished" in line
        assert "100 %" in line
        assert "loss 0.0312" in line
        assert "teaches a language model" not in screens.text


async def test_a_new_run_appears_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.home.REFRESH_EVERY", 0.05)
    async with running() as screens:
        finished_run("late")
        for _ in range(40):
            await screens.pilot.pause(0.05)
            if "late" in screens.text:
                break
        assert "late" in screens.text
        assert "▸ New fine-tune" in screens.text


async def test_why_a_run_failed_is_said() -> None:
    run = finished_run("broken")
    run.exit.write_text('{"state": "failed", "cause": "The kernel killed the trainer: memory ran out."}')
    async with running() as screens:
        assert "failed" in next(line for line in screens.lines if "broken" in line)
        assert "memory ran out" not in screens.text
        await screens.press("end")
        assert "→ failed: The kernel killed the trainer: memory ran out." in screens.text


async def test_enter_on_a_run_opens_its_monitor(watched: list[str]) -> None:
    finished_run("owl-1")
    async with running() as screens:
        await screens.press("down", "down", "enter")
    assert watched == ["owl-1"]


async def test_d_starts_the_demo_at_once(started: Started, watched: list[str]) -> None:
    async with running() as screens:
        await screens.press("d")
    assert [plan.name for plan in started] == ["demo"]
    assert started[0].config.model.model_name_or_path == DEMO_MODEL
    assert started[0].config.data.train[0].path == DEMO_DATA
    assert watched == ["demo"]


async def test_without_torch_the_demo_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, watched: list[str]
) -> None:
    monkeypatch.setattr("engine.run.launch.find_spec", lambda name: None)
    async with running() as screens:
        await screens.press("d")
        assert "not installed here: torch" in screens.one_line
        assert "pip install" in screens.one_line
    assert watched == []
    assert list_runs() == []


async def test_a_draft_is_offered_first_and_can_be_thrown_away() -> None:
    write_draft(Draft(step="data", goal="task"))
    async with running() as screens:
        assert "▸ Go on" in screens.text
        assert "you were at: Data" in screens.text
        await screens.press("n")
        assert screens.at == "machine"
        assert screens.app.the_draft() == Draft()


async def test_names_and_models_from_files_cannot_paint(watched: list[str]) -> None:
    finished_run("evil", model="\\u001b[31m[bold]x\\u202e")
    async with running(120) as screens:
        line = next(line for line in screens.lines if "evil" in line)
        assert "\\x1b[31m[bold]x\\u202e" in line
        assert "\x1b" not in screens.text


def test_a_run_line_is_one_line_of_eighty() -> None:
    for state in ("new", "starting", "running", "silent", "finished", "stopped", "failed", "died"):
        line = run_line(run_state(state=state, name="n" * 64), 76)
        assert state in line.plain
        assert line.cell_length <= 78


def test_only_live_run() -> None:
    live, ended = run_state(), run_state(name="old", state="finished")
    assert only_live_run([live, ended]) == "support"
    assert only_live_run([live, run_state(name="b")]) is None
    assert only_live_run([ended]) is None


def test_ago() -> None:
    assert [ago(0, now) for now in (5, 125, 7300, 200_000)] == ["just now", "2 min ago", "2 h ago", "2 d ago"]
    assert ago(100, 50) == "just now"
