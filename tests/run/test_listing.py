"""Every run at once: cheap to ask again and again, and no run can hide the others."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from engine.run import listing
from engine.run.layout import RunDir, create
from engine.run.listing import READ_WHOLE, Listing, losses
from engine.run.state import live_runs, state_in_list
from tests.tui.made_runs import MadeRun


def ended(name: str, steps: int = 20) -> RunDir:
    made = MadeRun(name, max_steps=steps)
    made.begin()
    made.train()
    made.steps(1, steps)
    made.finish()
    return made.run


def test_what_has_not_changed_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        ended(name)
    read: list[str] = []

    def counted(run: RunDir, now: float | None = None):  # type: ignore[no-untyped-def]
        read.append(run.name)
        return state_in_list(run, now)

    monkeypatch.setattr(listing, "state_in_list", counted)
    runs = Listing()
    assert runs.refresh(10)
    assert sorted(read) == ["a", "b", "c"]
    assert [state.state for state in runs.states] == ["finished"] * 3
    assert len(runs.curve("a")) == 20
    read.clear()
    assert runs.refresh(10)
    assert read == []
    with open(RunDir(Path(runs.states[0].path)).events, "a") as handle:
        handle.write('{"v":1,"seq":99,"t":1.0,"kind":"heartbeat"}\n')
    assert runs.refresh(10)
    assert read == [runs.states[0].name]


def test_a_live_run_is_read_every_time_and_its_end_is_seen() -> None:
    made = MadeRun("owl", max_steps=100)
    made.come_alive()
    made.begin()
    made.train()
    made.steps(1, 5)
    runs = Listing()
    runs.refresh(10)
    assert (runs.states[0].state, runs.states[0].step) == ("running", 5)
    assert live_runs() == ["owl"]
    made.steps(6, 9)
    runs.refresh(10)
    assert runs.states[0].step == 9
    made.end("died", "The kernel killed the trainer.")
    runs.refresh(10)
    assert (runs.states[0].state, runs.states[0].words) == ("died", "The kernel killed the trainer.")
    assert live_runs() == []


def test_many_runs_come_in_slices_the_newest_first() -> None:
    for number in range(12):
        run = ended(f"run-{number:02}", steps=3)
        os.utime(run.events, (1000 + number, 1000 + number))
    runs = Listing()
    assert not runs.refresh(0.0)
    assert runs.pending == 12
    while not runs.refresh(0.002):
        if 0 < runs.pending < 12:
            assert runs.states[0].name == "run-11"
    assert runs.pending == 0


def test_a_deleted_run_is_forgotten(finetui_home: Path) -> None:
    run = ended("gone")
    runs = Listing()
    runs.refresh(10)
    run.path.rename(finetui_home / "runs" / ".trash-gone")
    runs.refresh(10)
    assert runs.states == []


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "metric", "t": 1e999, "step": 1e999, "max_steps": "NaN", "loss": "x"}',
        '{"kind": "metric", "t": -1e300, "step": {"a": 1}, "earlier": 7, "attempt": "Infinity"}',
        '{"kind": "metric", "t": 9e99, "step": [1], "earlier": [1, null, {"step": "NaN", "loss": 1}]}',
        "\x00\x01\x02 not json at all",
        "[" * 5000,
    ],
)
def test_a_damaged_run_does_not_hide_the_others(line: str) -> None:
    ended("good")
    bad = create("bad")
    bad.config.write_text("model: {}\n")
    bad.events.write_text(f"{line}\n{line}\n")
    bad.lock.touch()
    runs = Listing()
    assert runs.refresh(10)
    assert {state.name for state in runs.states} == {"good", "bad"}
    assert all(0 <= state.started < 4e10 for state in runs.states)
    time.localtime(max(state.updated for state in runs.states))


def test_of_a_long_file_a_sample_from_all_over_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with open(path, "w") as handle:
        for step in range(1, 20_001):
            event = {"v": 1, "seq": step, "t": step, "kind": "metric", "step": step, "loss": 5 - step / 5000}
            handle.write(json.dumps(event) + "\n")
    assert path.stat().st_size > 4 * READ_WHOLE
    points = losses(path)
    assert 200 < len(points) < 3000
    assert points[0][0] == 1
    assert points[-1] == (20_000, 1.0)
    assert points == tuple(sorted(points))
    assert all(abs(loss - (5 - step / 5000)) < 1e-9 for step, loss in points)


def test_steps_that_a_resumed_run_trains_again_count_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    steps = [(1, 3.0), (2, 2.0), (3, 9.0), (2, 1.5), (3, 1.0)]
    path.write_text("".join(f'{{"kind":"metric","step":{step},"loss":{loss}}}\n' for step, loss in steps))
    assert losses(path) == ((1, 3.0), (2, 1.5), (3, 1.0))
    assert losses(tmp_path / "missing") == ()
