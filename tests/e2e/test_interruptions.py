"""Nothing loses a run: the viewer dies, the trainer is killed, the machine says stop."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.run.layout import RunDir
from engine.run.state import is_live, read_state
from tests.e2e.runs import events, finetui, kill, losses, run_dir, start, wait_for_end, wait_for_step
from tests.pty.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("interruptions")]  # they share one reference run

STEPS = 30
# Dropout uses random numbers at every step, so a resume that restores them wrongly shows.
OPTIONS = (
    *(
        "--max_steps",
        str(STEPS),
        "--save_steps",
        "5",
        "--eval_steps",
        "10",
        "--per_device_train_batch_size",
        "8",
    ),
    *("--lora_dropout", "0.1", "--sample_prompts", "[]", "--num_train_epochs", "3"),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The same run, left alone."""
    before = os.environ.get("FINETUI_HOME")
    os.environ["FINETUI_HOME"] = str(tmp_path_factory.mktemp("undisturbed"))
    try:
        run = start("reference", *OPTIONS)
        assert wait_for_end(run)["state"] == "finished"
        return run
    finally:
        if before is not None:
            os.environ["FINETUI_HOME"] = before


def same_result(run: RunDir, reference: RunDir) -> None:
    assert losses(run) == losses(reference)
    assert len(losses(run)) == STEPS
    name = "adapter/adapter_model.safetensors"
    assert (run.path / name).read_bytes() == (reference.path / name).read_bytes()
    final = [event.get("eval_loss") for event in events(run) if event["kind"] == "finished"]
    expected = [event["eval_loss"] for event in events(reference) if event["kind"] == "finished"]
    assert final[-1] == expected[-1]


def test_kill_9_at_random_moments_then_resume_is_bit_exact(undisturbed: RunDir) -> None:
    run = start("killed", *OPTIONS)
    luck = random.Random(int(time.time()))
    for _ in range(2):
        already = max(losses(run), default=0)
        wait_for_step(run, min(STEPS - 6, already + luck.randint(2, 9)))
        time.sleep(luck.random() * 0.3)
        if not is_live(run):
            break
        kill(run, "trainer")
        told = wait_for_end(run)
        assert (told["state"], told["signal"]) == ("died", "SIGKILL")
        assert told["cause"]
        assert finetui("resume", "killed", "--detach").returncode == 0
    assert wait_for_end(run)["state"] == "finished"
    same_result(run, undisturbed)


def test_the_viewer_can_be_hung_up_terminated_killed_or_lose_its_terminal(undisturbed: RunDir) -> None:
    run = start("watched", *OPTIONS)
    attach = [sys.executable, "-m", "tui", "attach", "watched"]
    for how in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL, None):
        terminal = Terminal(attach, env={"FINETUI_HOME": os.environ["FINETUI_HOME"]})
        terminal.wait_for("watched")
        if how is None:
            terminal.hang_up()
        else:
            terminal.signal(how)
        terminal.wait_exit(10)
    assert wait_for_end(run)["state"] == "finished"
    same_result(run, undisturbed)
    with Terminal(attach, env={"FINETUI_HOME": os.environ["FINETUI_HOME"]}) as later:
        later.wait_for(f"{STEPS}")
        assert "finished" in later.text


@pytest.mark.thorough  # the tests of faults send one, too
def test_sigterm_saves_a_checkpoint_and_the_run_goes_on_later(undisturbed: RunDir) -> None:
    run = start("preempted", *OPTIONS)
    wait_for_step(run, 7)
    kill(run, "supervisor", signal.SIGTERM)
    told = wait_for_end(run)
    assert (told["state"], told["code"]) == ("stopped", 0)
    step = told["last_step"]
    assert (run.checkpoints / f"checkpoint-{step}" / "trainer_state.json").exists()
    assert not (run.path / "adapter").exists()
    done = finetui("resume", "preempted")
    assert done.returncode == 0, done.stderr
    assert "Going on from the checkpoint" in done.stdout
    same_result(run, undisturbed)


def test_stop_from_the_command_line_and_refusals() -> None:
    run = start("asked", *OPTIONS)
    wait_for_step(run, 2)
    second = finetui("resume", "asked", "--detach")
    assert second.returncode == 2
    assert "Another trainer is working on this run." in second.stderr
    done = finetui("stop")
    assert done.returncode == 0, done.stderr
    assert "checkpoint is saved" in done.stdout
    assert read_state(run).state == "stopped"
    listed = finetui("runs")
    assert "stopped" in listed.stdout
    assert list(Path(run.checkpoints).glob("checkpoint-*"))
    # The data changed: going on would be another run.
    copied = run_dir("asked").path / "data.json"
    copied.write_text(copied.read_text().replace('": "', '": "0'))
    assert finetui("resume", "asked").returncode == 2
    assert "dataset has changed" in run.log.read_text()


def test_no_orphans(undisturbed: RunDir) -> None:
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(undisturbed.path) not in alive
