"""Pausing: a checkpoint, a free GPU, and the same result in the end."""

from __future__ import annotations

import json
import time

import pytest

from engine.run import atomic, control, identity, lock
from engine.run.layout import RunDir, create
from engine.run.state import read_state
from engine.run.supervise import explain_exit
from tests.e2e.runs import events, finetui, losses, start, wait_for_end, wait_for_step

STEPS = 12
OPTIONS = ("--max_steps", str(STEPS), "--eval_fraction", "0", "--sample_prompts", "[]")


def ended(run: RunDir, state: str, cause: str, when: float) -> None:
    """Leave what a supervisor leaves."""
    run.lock.touch()
    atomic.write_json(run.exit, {"state": state, "cause": cause, "last_step": 7, "ended": when})


def test_a_paused_run_says_since_when() -> None:
    run = create("r")
    now = time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1))
    ended(run, "paused", "Paused at step 7; a checkpoint is saved.", now - 60)
    state = read_state(run, now)
    since = time.strftime("%H:%M", time.localtime(now - 60))
    assert (state.state, state.live) == ("paused", False)
    assert state.words == f"Since {since}: paused at step 7; a checkpoint is saved."
    ended(run, "paused", "Paused at step 7; a checkpoint is saved.", now - 3 * 86400)
    day = time.strftime("%a %d %b", time.localtime(now - 3 * 86400))
    assert f"Since {day}" in read_state(run, now).words


@pytest.mark.parametrize("when", [None, "soon", float("inf"), -1e300])
def test_an_odd_obituary_of_a_pause_is_no_reason_to_break(when: object) -> None:
    run = create("r")
    run.lock.touch()
    told = {"state": "paused", "cause": "Paused at step 7.", "ended": when}
    run.exit.write_text(json.dumps(told))
    assert read_state(run).words == "Paused at step 7."


def test_how_it_ended_is_taken_from_the_trainer() -> None:
    told = {"kind": "finished", "outcome": "paused", "words": "Paused at step 7."}
    assert explain_exit(0, told, False, False, False) == ("paused", "Paused at step 7.")
    assert explain_exit(0, {**told, "outcome": ["odd"]}, False, False, False)[0] == "finished"


@pytest.mark.slow
def test_a_run_is_paused_and_goes_on_with_the_same_losses() -> None:
    run = start("pause", *OPTIONS)
    wait_for_step(run, 3)
    done = finetui("pause")
    assert done.returncode == 0, done.stderr
    assert "Asked pause to save a checkpoint and let go of the GPU" in done.stdout
    step = atomic.read_json(run.exit)["last_step"]  # type: ignore[index]
    assert f"paused at step {step}; a checkpoint is saved and the GPU is free." in done.stdout
    assert read_state(run).state == "paused"
    for role in ("trainer", "supervisor"):
        assert not identity.is_alive(identity.read(run.process, role)), role
    assert not lock.is_held(run.lock)
    assert not control.is_requested(run, "pause")
    assert (run.checkpoints / f"checkpoint-{step}" / "trainer_state.json").exists()
    assert [e["outcome"] for e in events(run) if e["kind"] == "finished"] == ["paused"]
    assert finetui("pause", "pause").stdout.startswith("pause is not running: Since ")
    assert finetui("resume", "pause", "--detach").returncode == 0
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    assert sorted(losses(run)) == list(range(1, STEPS + 1))
    resumed = [e["resumed_from"] for e in events(run) if e.get("resumed_from") is not None]
    assert resumed == [step]
