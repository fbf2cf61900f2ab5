"""A trainer that asks to be started again is: with stand-ins for the trainer, real processes and a real supervisor."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.run import changes, control, identity
from engine.run import launch as launching
from engine.run.layout import RunDir, create
from engine.run.state import is_live, read_state

TRAINER = """
import sys, time
from pathlib import Path
from engine.run import changes
from engine.run.events import EventWriter
from engine.run.layout import RunDir
run = RunDir(Path(sys.argv[1]))
attempt = 1 + len(changes.read(run))
writer = EventWriter(run.events, attempt)
writer.emit("metric", step=attempt, max_steps=9, loss=1.0)
def again(batch):
    changes.propose(run, changes.Change("out of memory", "Out of memory.", attempt, attempt, {"per_device_train_batch_size": batch},
                                        {"per_device_train_batch_size": batch // 2}))
    sys.exit(changes.RESTART)
"""


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def begin(script: str) -> RunDir:
        run = create("r")
        argv = [sys.executable, "-c", TRAINER + script, str(run.path)]
        monkeypatch.setattr(launching, "trainer_argv", lambda run, n=1: argv)
        launching.launch(run)
        return run

    return begin


def wait(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def obituary(run: RunDir) -> dict[str, Any]:
    wait(lambda: run.exit.exists() and not is_live(run))
    found: dict[str, Any] = json.loads(run.exit.read_text())
    return found


def test_it_is_started_again_until_it_ends_and_every_change_is_kept(begin: Any) -> None:
    run = begin(
        "if attempt < 3: again(8 // attempt)\nwriter.emit('finished', outcome='completed', step=9, words='Done.')\n"
    )
    assert obituary(run)["state"] == "finished"
    assert [change.after["per_device_train_batch_size"] for change in changes.read(run)] == [4, 2]
    assert not changes.is_proposed(run)
    state = read_state(run)
    assert (state.attempt, state.changed) == (3, "batch 8 → 2")


def test_it_gives_up_after_a_bounded_number_of_starts(begin: Any) -> None:
    run = begin("again(8)\n")
    told = obituary(run)
    assert told["state"] == "failed"
    assert "Gave up after 20 new starts" in told["cause"]
    assert len(changes.read(run)) == 21


def test_a_stop_that_waits_is_obeyed_instead_of_a_new_start(begin: Any) -> None:
    run = begin("time.sleep(0.5)\nagain(8)\n")
    control.request(run, "stop-and-save")
    told = obituary(run)
    assert told["state"] == "stopped"
    assert "Continue with finetui resume" in told["cause"]
    assert len(changes.read(run)) == 1


def test_a_termination_is_obeyed_and_the_change_kept_for_the_next_time(begin: Any) -> None:
    run = begin(
        "import signal\nsignal.signal(signal.SIGTERM, lambda *a: again(8))\nwriter.emit('metric', step=2, max_steps=9, loss=1.0)\n"
        "while True: time.sleep(0.05)\n"
    )
    wait(lambda: read_state(run).step == 2)
    assert identity.signal_process(identity.read(run.process, "supervisor"), signal.SIGTERM)
    assert obituary(run)["state"] == "stopped"
    assert changes.settings(run) == {"per_device_train_batch_size": 4}


def test_a_proposal_that_outlived_the_supervisor_counts_at_the_next_start(begin: Any) -> None:
    run = begin("writer.emit('finished', outcome='completed', step=9, words='Done.')\n")
    obituary(run)
    changes.propose(
        run, changes.Change("out of memory", "Out of memory.", 1, 1, {"max_length": 8}, {"max_length": 4})
    )
    launching.launch(run)
    assert obituary(run)["state"] == "finished"
    assert changes.settings(run) == {"max_length": 4}
