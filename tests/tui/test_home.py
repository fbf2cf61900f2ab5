"""Home: what to do, and every run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.widgets import Input

from engine.config.draft import DEMO_DATA, DEMO_MODEL, Draft
from engine.run import sweeps
from engine.run.layout import RunDir, create
from engine.run.state import RunState, list_runs
from tests.tui.conftest import Started
from tests.tui.made_runs import MadeRun
from tests.tui.pilot import running, write_draft
from tui.run_list import ago, run_line


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
        assert "0.0312" in line
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


async def test_slash_finds_runs_and_escape_shows_all_again(watched: list[str]) -> None:
    for name in ("owl-1", "owl-2", "cat"):
        finished_run(name)
    async with running() as screens:
        await screens.press("slash")
        await screens.type("cat")
        assert "owl-1" not in screens.text
        assert "1 of 3 runs" in screens.text
        await screens.press("enter", "enter")
        assert watched == ["cat"]
        await screens.press("escape")
        assert "owl-1" in screens.text
        assert not screens.app.screen.query_one("#filter", Input).display


async def test_o_changes_the_order() -> None:
    finished_run("b")
    finished_run("a")
    async with running() as screens:
        await screens.press("o")
        listed = [line for line in screens.lines if "finished" in line]
        assert "by name" in screens.text
        assert [line.split()[0] for line in listed] == ["a", "b"]


async def test_marked_runs_are_compared() -> None:
    finished_run("owl-1")
    finished_run("owl-2")
    async with running() as screens:
        await screens.press("down", "down", "c")
        assert "Mark at least two runs" in screens.one_line
        await screens.press("space", "space", "c")
        assert screens.at == "CurvesScreen"
        assert "2 runs side by side" in screens.text
        await screens.press("escape")
        assert screens.text.count("✓ owl-") == 2
        await screens.press("escape")
        assert "✓" not in screens.text


async def test_delete_says_how_large_and_asks() -> None:
    other = finished_run("owl-0")
    run = finished_run("owl-1")
    (run.adapter).mkdir()
    (run.adapter / "weights").write_bytes(bytes(3 * 2**20))
    async with running() as screens:
        await screens.press("down", "down", "D")
        assert screens.at == "ConfirmScreen"
        assert "Delete owl-1?" in screens.text
        assert "3 MiB of checkpoints" in screens.text
        await screens.press("enter")  # the careful answer comes first
        assert run.events.exists()
        await screens.press("delete", "down", "enter")
        assert "Deleted: owl-1." in screens.text
        assert not run.path.exists()
        await screens.press("delete", "down", "enter")  # the cursor stays among the runs
        assert not other.path.exists()
        assert "teaches a language model" in screens.text


async def test_a_live_run_cannot_be_deleted() -> None:
    made = MadeRun("owl")
    made.come_alive()
    made.begin()
    try:
        async with running() as screens:
            await screens.press("down", "down", "D")
            assert "This run is going on" in screens.text
            assert "finetui stop owl" in screens.text
    finally:
        made.die()


async def test_the_folder_is_said_and_written_into_a_file(finetui_home: Path) -> None:
    run = finished_run("owl-1")
    async with running(120) as screens:
        await screens.press("down", "down", "p")
        words = screens.one_line
        assert "Its folder" in words
        assert "copied.txt" in words
    assert (finetui_home / "copied.txt").read_text().strip() == str(run.path)


async def test_a_sweep_opens_and_closes() -> None:
    for name in ("grid-1", "grid-2"):
        finished_run(name)
    sweeps.create("grid")
    sweeps.write(
        sweeps.Sweep("grid", tuple(sweeps.Entry(f"grid-{n}", {}, outcome="finished") for n in (1, 2)))
    )
    async with running() as screens:
        assert "+ grid" in screens.text
        assert "2 of 2 runs done, complete" in screens.text
        assert "grid-1" not in screens.text
        await screens.press("down", "down", "enter")
        assert "grid-1" in screens.text
        await screens.press("c")
        assert screens.at == "CurvesScreen"


async def test_resume_says_what_is_in_the_way(watched: list[str]) -> None:
    finished_run("owl-1")
    async with running() as screens:
        await screens.press("down", "down", "r")
        assert "This run is complete" in screens.one_line
    assert watched == []


async def test_two_hundred_runs_do_not_keep_anybody_waiting() -> None:
    for number in range(200):
        finished_run(f"run-{number:03}")
    begun = time.perf_counter()
    async with running() as screens:
        assert "200 runs" in screens.text
        await screens.press(*["down"] * 12)
        assert time.perf_counter() - begun < 10
        assert "▸" in screens.text


def test_a_run_line_is_one_line_of_eighty() -> None:
    for state in ("new", "starting", "running", "silent", "finished", "stopped", "failed", "died"):
        line = run_line(run_state(state=state, name="n" * 64), 80)
        assert state in line.plain
        assert line.cell_length <= 75


def test_ago() -> None:
    assert [ago(0, now) for now in (5, 125, 7300, 200_000)] == ["just now", "2 min ago", "2 h ago", "2 d ago"]
    assert ago(100, 50) == "just now"
