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
from tests.e2e.reference import REFERENCE, REFERENCE_STEPS, same_result
from tests.e2e.runs import events, finetui, kill, losses, run_dir, start, wait_for_end, wait_for_step
from tests.pty.terminal import Terminal

pytestmark = pytest.mark.slow


@pytest.mark.xdist_group("undisturbed")
def test_kill_9_at_random_moments_and_viewers_that_die_leave_no_trace(undisturbed: RunDir) -> None:
    run = start("disturbed", *REFERENCE)
    luck = random.Random(int(time.time()))
    kills = 0
    for _ in range(2):
        already = max(losses(run), default=0)
        wait_for_step(run, min(REFERENCE_STEPS - 6, already + luck.randint(2, 9)))
        time.sleep(luck.random() * 0.3)
        if not is_live(run):
            break
        kill(run, "trainer")
        told = wait_for_end(run)
        assert (told["state"], told["signal"]) == ("died", "SIGKILL")
        assert told["cause"]
        kills += 1
        assert finetui("resume", "disturbed", "--detach").returncode == 0
    assert kills
    # From here on only those who watch are hung up, terminated, killed, or lose their terminal.
    attach = [sys.executable, "-m", "tui", "attach", "disturbed"]
    for how in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL, None):
        terminal = Terminal(attach, env={"FINETUI_HOME": os.environ["FINETUI_HOME"]})
        terminal.wait_for("disturbed")
        if how is None:
            terminal.hang_up()
        else:
            terminal.signal(how)
        terminal.wait_exit(10)
    assert wait_for_end(run)["state"] == "finished"
    assert max(event["attempt"] for event in events(run)) == kills + 1
    same_result(run, undisturbed)
    with Terminal(attach, env={"FINETUI_HOME": os.environ["FINETUI_HOME"]}) as later:
        later.wait_for(f"{REFERENCE_STEPS}")
        assert "finished" in later.text


@pytest.mark.thorough  # the tests of faults send one, too
@pytest.mark.xdist_group("undisturbed")
def test_sigterm_saves_a_checkpoint_and_the_run_goes_on_later(undisturbed: RunDir) -> None:
    run = start("preempted", *REFERENCE)
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
    run = start(
        "asked", *REFERENCE, "--max_steps", "600"
    )  # so long that it cannot end before it is asked to stop
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


@pytest.mark.xdist_group("undisturbed")
def test_no_orphans(undisturbed: RunDir) -> None:
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(undisturbed.path) not in alive
