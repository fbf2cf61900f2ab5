"""Sweeps through the real queue and trainer: ended, gone on with, and runs that fall behind."""

from __future__ import annotations

import json

import pytest

from engine.config.draft import DEMO_RECIPE
from engine.run.state import is_live, read_state
from engine.run.sweeps import find_sweep
from tests.e2e import runs

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

STEPS = 60
SHORT = (
    *("--max_steps", str(STEPS), "--eval_steps", "15", "--save_steps", "20", "--sample_prompts", "[]"),
    *("--per_device_train_batch_size", "8", "--lora_dropout", "0.1"),
)


def sweep(*options: str) -> tuple[int, str]:
    done = runs.finetui("sweep", *options)
    return done.returncode, done.stdout + done.stderr


def test_a_sweep_is_ended_and_gone_on_with() -> None:
    alone = runs.start("alone", *SHORT, "--lora_r", "4")
    assert runs.wait_for_end(alone)["state"] == "finished", alone.log.read_text()[-3000:]
    ranks = ("--lora_r", "4,8", "--name", "ranks", "--detach")
    assert sweep("-c", str(DEMO_RECIPE), *ranks, *SHORT)[0] == 0
    first, second = (entry.run for entry in find_sweep("ranks").entries)
    runs.wait(lambda: first.events.exists() and runs.losses(first), what="the first run")
    runs.wait_for_step(first, 2)
    assert "going on already" in sweep("ranks", "--resume")[1]
    code, told = sweep("ranks", "--stop")
    assert (code, "0 of 2 runs done, ended early" in told) == (0, True), told
    assert not find_sweep("ranks").is_live
    assert not is_live(first)
    assert read_state(first).state == "stopped"
    assert max(runs.losses(first)) < STEPS
    assert list(first.checkpoints.glob("checkpoint-*"))
    assert not second.events.exists()
    assert "is not running" in sweep("ranks", "--stop")[1]
    # It goes on where it was, and ends as if nobody had ended it.
    code, told = sweep("ranks", "--resume")
    assert (code, "2 of 2 runs done, complete" in told) == (0, True), told
    assert [entry.outcome for entry in find_sweep("ranks").entries] == ["finished", "finished"]
    assert runs.losses(first) == runs.losses(alone)
    assert "nothing to go on with" in sweep("ranks", "--resume")[1]


def test_runs_that_fall_behind_are_ended_and_the_table_says_so() -> None:
    rates = ("--learning_rate", "2e-3,1e-7,4e-3", "--stop-losers", "--name", "rates", "--json")
    code, told = sweep("-c", str(DEMO_RECIPE), *rates, *SHORT)
    assert code == 0, told
    found = find_sweep("rates")
    good, bad, other = found.entries
    assert (good.outcome, bad.outcome) == ("finished", "loser")
    assert "Ended at 25% of its steps: eval_loss" in bad.words
    assert "not in the better half of 2 runs" in bad.words
    assert max(runs.losses(bad.run)) < STEPS
    assert list(bad.run.checkpoints.glob("checkpoint-*")), "a loser can still be gone on with"
    assert other.outcome in ("finished", "loser")
    results = {one["name"]: one for one in json.loads(told)["results"]}
    assert results["rates-1"]["best"] < results["rates-2"]["best"]
    table = runs.finetui("runs", "--compare", "rates").stdout
    rows = [line.split()[0] for line in table.splitlines() if line.startswith("rates-")]
    assert rows.index("rates-1") < rows.index("rates-2")
    assert "learning_rate" in table.splitlines()[0]
