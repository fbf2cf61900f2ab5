"""Memory, numbers and disks fail in the real trainer process, and the run gets through, or says in words why not.

The trainer is broken from outside: see tests/faults/sitecustomize.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.run import changes, checkpoints, control
from engine.run.layout import RunDir
from engine.run.state import is_live, read_state
from tests.e2e.reference import REFERENCE, REFERENCE_STEPS, same_result
from tests.e2e.runs import events, finetui, kill, losses, start, wait, wait_for_end, wait_for_step

pytestmark = pytest.mark.slow

FAULTS = str(Path(__file__).resolve().parent.parent / "faults")
STEPS = 12
OPTIONS = (
    *("--sample_prompts", "[]", "--per_device_train_batch_size", "4", "--num_train_epochs", "1"),
    *("--max_steps", str(STEPS), "--save_steps", "4", "--eval_steps", "6", "--lora_dropout", "0.1"),
)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Breaks the trainers that are started from now on."""

    def breaks(*faults: dict[str, Any]) -> None:
        monkeypatch.setenv("PYTHONPATH", FAULTS, prepend=os.pathsep)
        monkeypatch.setenv("FAULTS", json.dumps(faults))

    return breaks


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 24 MiB for runs."""
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(home)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can only be mounted by root")
    monkeypatch.setenv("FINETUI_HOME", str(home))
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)


def told(run: RunDir, kind: str) -> list[dict[str, Any]]:
    return [event for event in events(run) if event["kind"] == kind and not event.get("request")]


def fill(folder: Path, leave: int) -> Path:
    """Use up a disk but for so many bytes."""
    found = os.statvfs(folder)
    ballast = folder / "ballast"
    with open(ballast, "wb") as handle:
        handle.write(bytes(max(0, found.f_bavail * found.f_frsize - leave)))
    return ballast


@pytest.mark.xdist_group("faults-memory")
def test_out_of_memory_at_the_first_step_at_a_later_one_and_in_evaluation(broken: Any) -> None:
    broken(
        {"kind": "oom", "step": 1, "above": 2},
        {"kind": "oom", "step": 37, "above": 1},
        {"kind": "oom_in_evaluation", "above": 4},
    )
    run = start(
        "tight",
        *OPTIONS,
        "--per_device_eval_batch_size",
        "8",
        "--max_steps",
        "38",
        "--save_steps",
        "20",
        "--eval_steps",
        "38",
        "--lora_dropout",
        "0",
    )
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    found = told(run, "change")
    assert [event["after"] for event in found] == [
        {"per_device_eval_batch_size": 4},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
    ]
    assert "while evaluating at the first step" in found[0]["words"]
    assert "at the first step" in found[1]["words"]
    assert "after step 36" in found[2]["words"]
    assert "batch 2 → 1, accumulation 2 → 4" in found[2]["words"]
    assert not told(run, "failure")
    # Steps 21 to 36 were trained twice, two rows at once and one: the same rows, the same loss.
    twice: dict[int, list[dict[str, Any]]] = {}
    for event in told(run, "metric"):
        twice.setdefault(event["step"], []).append(event)
    assert sorted(twice) == list(range(1, 39))
    again = {step: points for step, points in twice.items() if len(points) == 2}
    assert sorted(again) == list(range(21, 37))
    for before, after in again.values():
        assert after["num_tokens"] == before["num_tokens"]
        assert after["loss"] == pytest.approx(before["loss"], rel=1e-3)
    # run.yaml stays what was asked; what is honoured stands beside it, and in the list of runs.
    assert "per_device_train_batch_size: 4" in run.config.read_text()
    assert changes.settings(run)["per_device_train_batch_size"] == 1
    assert "batch 4 → 1, accumulation 1 → 4" in finetui("runs").stdout


@pytest.mark.thorough
def test_weights_that_become_nan_are_never_saved_and_the_run_goes_back(broken: Any) -> None:
    broken({"kind": "nan", "step": 7, "above": 0.001})  # the recipe's rate is 0.002
    run = start("nan", *OPTIONS, "--on_nan", "restore")
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    change = told(run, "change")[-1]
    assert change["after"] == {"learning_rate": 0.0005}
    assert "not been a number (NaN) since step 7" in change["words"]
    assert "Back to the checkpoint of step 4" in change["words"]
    assert any("Step 8 is not saved" in event["words"] for event in told(run, "warning"))
    assert [event["step"] for event in told(run, "checkpoint")] == [4, 8, 12]
    rates = {event["step"]: event["learning_rate"] for event in told(run, "metric")}
    assert rates[12] < rates[4] / 4  # the lower rate is honoured although the checkpoint holds the old one
    assert all(value == value for value in losses(run).values())


@pytest.mark.xdist_group("undisturbed")
def test_a_disk_that_fills_up_while_saving_breaks_nothing_and_training_waits(
    undisturbed: RunDir, small_disk: Path, broken: Any
) -> None:
    broken({"kind": "small_estimate"})  # so that the disk fills up in the middle of the save
    run = start("full", *REFERENCE)
    wait_for_step(run, 1)
    ballast = fill(small_disk, leave=2 << 20)
    wait(lambda: any("The disk is full" in event["words"] for event in told(run, "warning")), 60)
    assert is_live(run)
    assert max(losses(run)) == 5
    assert list(run.checkpoints.iterdir()) == [], "a broken checkpoint was left"
    ballast.unlink()
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    assert any("There is space again" in event["words"] for event in told(run, "change"))
    same_result(run, undisturbed)


@pytest.mark.thorough
@pytest.mark.xdist_group("undisturbed")
def test_a_checkpoint_cut_in_half_is_passed_over_for_the_one_before(undisturbed: RunDir) -> None:
    run = start("cut", *REFERENCE)
    wait_for_step(run, 6)
    kill(run, "supervisor", signal.SIGTERM)
    ended = wait_for_end(run)
    assert (ended["state"], ended["code"]) == ("stopped", 0)
    before, newest = checkpoints.finished(run.checkpoints)[-2:]
    optimizer = newest / "optimizer.pt"
    os.truncate(optimizer, optimizer.stat().st_size // 2)
    assert finetui("resume", "cut", "--detach").returncode == 0
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    step, good = checkpoints.step_of(newest), checkpoints.step_of(before)
    words = [event["words"] for event in told(run, "warning")]
    assert any(
        f"step {step} is damaged: optimizer.pt is not what was written" in found and f"step {good}" in found
        for found in words
    ), words
    same_result(run, undisturbed)


# The rest, minutes long


@pytest.mark.thorough
def test_kill_9_at_twenty_random_moments_is_bit_exact(tmp_path_factory: pytest.TempPathFactory) -> None:
    options = (*OPTIONS, "--max_steps", "60", "--save_steps", "2", "--eval_steps", "10")
    reference = start("left-alone", *options)
    assert wait_for_end(reference)["state"] == "finished"
    seed = int(time.time())
    luck = random.Random(seed)
    run = start("killed", *options)
    for number in range(20):
        # Mostly while it trains and saves, sometimes while it starts.
        began = time.monotonic()
        before = len([event for event in told(run, "phase") if event["phase"] == "training"])
        if luck.random() < 0.8:
            wait(
                lambda before=before: (
                    len([e for e in told(run, "phase") if e["phase"] == "training"]) > before
                    or not is_live(run)
                ),
                120,
            )
            time.sleep(luck.random() * 1.5)
        else:
            time.sleep(luck.random() * 6)
        if not is_live(run):
            break
        kill(run, "trainer")
        ended = wait_for_end(run)
        assert ended["state"] in ("died", "finished"), (seed, number, ended)
        if ended["state"] == "finished":
            break
        print(
            f"kill {number + 1} after {time.monotonic() - began:.1f} s at step {max(losses(run), default=0)}"
        )
        assert finetui("resume", "killed", "--detach").returncode == 0
    assert wait_for_end(run)["state"] == "finished", (seed, run.log.read_text()[-3000:])
    assert not [event for event in told(run, "warning") if "damaged" in event["words"]], seed
    same_result(run, reference, 60)


@pytest.mark.thorough
@pytest.mark.xdist_group("undisturbed")
def test_a_run_that_died_after_its_last_step_trains_no_step_more(
    undisturbed: RunDir, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken({"kind": "killed_at_the_end"})
    run = start("late", *REFERENCE)
    assert wait_for_end(run)["signal"] == "SIGKILL"
    assert max(losses(run)) == REFERENCE_STEPS
    monkeypatch.delenv("FAULTS")
    assert finetui("resume", "late", "--detach").returncode == 0
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    same_result(run, undisturbed)


@pytest.mark.thorough
def test_a_broken_loss_stops_at_the_last_good_checkpoint_and_goes_on_with_what_the_user_changes(
    broken: Any,
) -> None:
    broken({"kind": "nan", "step": 7, "above": 0.001})
    run = start("stopped", *OPTIONS)
    ended = wait_for_end(run)
    assert (ended["state"], ended["code"]) == ("failed", 2)
    failure = told(run, "failure")[-1]
    assert "since step 7" in failure["what"]
    assert "the last good state is the checkpoint of step 4" in failure["what"]
    assert "learning_rate" in failure["fix"]
    assert [checkpoints.step_of(path) for path in checkpoints.finished(run.checkpoints)] == [4]
    run.config.write_text(run.config.read_text().replace("learning_rate: 0.002", "learning_rate: 0.0005"))
    assert finetui("resume", "stopped", "--detach").returncode == 0
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]


@pytest.mark.thorough
def test_out_of_memory_whatever_is_tried_ends_in_words(broken: Any) -> None:
    broken({"kind": "oom"})
    run = start("hopeless", *OPTIONS, "--gradient_checkpointing", "true", "--allow_shorter", "true")
    ended = wait_for_end(run)
    assert (ended["state"], ended["code"]) == ("failed", 2)
    failure = told(run, "failure")[-1]
    assert "nothing left to make smaller" in failure["what"]
    assert "finetui resume hopeless" in failure["fix"]
    lengths = [
        event["after"]["max_length"] for event in told(run, "change") if "max_length" in event["after"]
    ]
    assert lengths == [128]


@pytest.mark.thorough
def test_nothing_is_changed_where_healing_is_switched_off(broken: Any) -> None:
    broken({"kind": "oom", "step": 3})
    run = start("off", *OPTIONS, "--heal", "false")
    assert wait_for_end(run)["code"] == 2
    assert told(run, "failure")[-1]["what"] == "Out of memory after step 2."
    assert not told(run, "change")


@pytest.mark.thorough
def test_a_stop_is_obeyed_while_training_waits_for_space(small_disk: Path) -> None:
    run = start("waiting", *OPTIONS)
    wait_for_step(run, 1)
    fill(small_disk, leave=1 << 20)
    wait(lambda: any("Training waits" in event["words"] for event in told(run, "warning")), 60)
    control.request(run, "stop-and-save")
    assert wait_for_end(run)["state"] == "stopped"
    assert "could not be saved" in read_state(run).words or "no room" in read_state(run).words
    (small_disk / "ballast").unlink()
    assert finetui("resume", "waiting", "--detach").returncode == 0
    wait_for_step(run, 2)
    wait(lambda: checkpoints.finished(run.checkpoints), 60)
    fill(small_disk, leave=1 << 20)
    wait(lambda: any("Training waits" in e["words"] and e["attempt"] == 2 for e in told(run, "warning")), 60)
    kill(run, "supervisor", signal.SIGTERM)
    assert wait_for_end(run)["state"] == "stopped"


@pytest.mark.thorough
def test_two_processes_agree_on_what_is_changed(broken: Any) -> None:
    broken({"kind": "oom", "step": 5, "above": 2, "rank": 1})
    run = start("two", *OPTIONS, "--num_processes", "2", "--per_device_train_batch_size", "4")
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    found = told(run, "change")
    assert [event["after"] for event in found] == [
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    ]
    assert not told(run, "failure")
    assert sorted(losses(run)) == list(range(1, STEPS + 1))


@pytest.mark.thorough
def test_a_stop_during_a_new_start_is_obeyed(broken: Any) -> None:
    broken({"kind": "oom", "step": 3, "above": 2})
    run = start("stop", *OPTIONS)
    wait(lambda: changes.read(run), 60)
    kill(run, "supervisor", signal.SIGTERM)
    ended = wait_for_end(run)
    assert ended["state"] == "stopped", ended
    assert finetui("resume", "stop", "--detach").returncode == 0
    assert wait_for_end(run)["state"] == "finished"
    assert changes.settings(run)["per_device_train_batch_size"] == 2
