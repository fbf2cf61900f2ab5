"""The supervisor with stand-in trainers: real processes, real signals, real locks."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.run import atomic, control, identity
from engine.run import launch as launching
from engine.run.layout import RunDir, create
from engine.run.state import find_run, is_live, list_runs, read_state

WRITE = """
import sys, time, os, signal
from pathlib import Path
from engine.run.events import EventWriter
run = Path(sys.argv[1])
writer = EventWriter(run / "events.jsonl")
writer.emit("phase", phase="starting", model="m", method="SFT", dataset="d")
def step(n): writer.emit("metric", step=n, max_steps=100, loss=1.0)
"""
FOREVER = WRITE + "step(7)\nwhile True: time.sleep(0.05)\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def start(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    started: list[RunDir] = []

    def start(script: str, name: str = "r") -> RunDir:
        run = create(name)
        started.append(run)
        argv = [sys.executable, "-c", script, str(run.path)]
        monkeypatch.setattr(launching, "trainer_argv", lambda run, n=1: argv)
        launching.launch(run)
        return run

    yield start
    for run in started:
        for role in ("trainer", "supervisor"):
            identity.signal_process(identity.read(run.process, role), signal.SIGKILL)


def wait(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def pid_of(run: RunDir, role: str) -> int:
    wait(lambda: identity.read(run.process, role))
    found = identity.read(run.process, role)
    assert found is not None
    return int(found["pid"])


def at_step(run: RunDir, step: int = 7) -> bool:
    return read_state(run).step >= step


def obituary(run: RunDir) -> dict[str, Any]:
    wait(lambda: run.exit.exists() and not is_live(run))
    return json.loads(run.exit.read_text())


def test_a_run_that_ends_well(start: Any) -> None:
    run = start(
        WRITE + "step(1)\nwriter.emit('finished', outcome='completed', step=100, words='All done.')\n"
    )
    told = obituary(run)
    assert (told["state"], told["code"], told["signal"]) == ("finished", 0, None)
    assert read_state(run).words == "All done."


def test_launch_returns_with_the_lock_held_and_a_second_start_is_refused(start: Any) -> None:
    run = start(FOREVER)
    assert is_live(run)
    with pytest.raises(UserError, match="Another trainer"):
        launching.launch(run)
    assert read_state(run).state in ("starting", "running")


def test_kill_9_of_the_trainer_is_told_in_words(start: Any) -> None:
    run = start(FOREVER)
    wait(lambda: at_step(run))
    os.kill(pid_of(run, "trainer"), signal.SIGKILL)
    told = obituary(run)
    assert (told["state"], told["signal"], told["last_step"]) == ("died", "SIGKILL", 7)
    assert "killed" in told["cause"]
    assert "memory" in told["cause"]


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_by_signal_names_the_signal(start: Any, signum: signal.Signals) -> None:
    run = start(FOREVER)
    wait(lambda: at_step(run))
    os.kill(pid_of(run, "trainer"), signum)
    assert signum.name in obituary(run)["cause"]


def test_hangup_is_ignored_by_supervisor_and_trainer(start: Any) -> None:
    run = start(FOREVER)
    wait(lambda: at_step(run))
    for role in ("supervisor", "trainer"):
        os.kill(pid_of(run, role), signal.SIGHUP)
    time.sleep(0.3)
    assert identity.is_alive(identity.read(run.process, "trainer"))
    assert is_live(run)


def test_sigterm_to_the_supervisor_reaches_the_trainer(start: Any) -> None:
    run = start(
        WRITE
        + "def end(*a):\n    writer.emit('finished', outcome='stopped', step=7, words='Saved and stopped.')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nstep(7)\nwhile True: time.sleep(0.05)\n"
    )
    wait(lambda: at_step(run))
    os.kill(pid_of(run, "supervisor"), signal.SIGTERM)
    assert obituary(run)["state"] == "stopped"
    assert obituary(run)["cause"] == "Saved and stopped."


def test_the_trainer_outlives_a_killed_supervisor_and_still_holds_the_run(start: Any) -> None:
    run = start(FOREVER)
    wait(lambda: at_step(run))
    os.kill(pid_of(run, "supervisor"), signal.SIGKILL)
    time.sleep(0.2)
    assert is_live(run)
    with pytest.raises(UserError, match="Another trainer"):
        launching.launch(run)
    os.kill(pid_of(run, "trainer"), signal.SIGKILL)
    wait(lambda: not is_live(run))
    state = read_state(run)
    assert state.state == "died"
    assert "restarted" in state.words


def test_stop_now_kills_a_trainer_that_does_not_listen(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(
        WRITE + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nstep(7)\nwhile True: time.sleep(0.05)\n"
    )
    wait(lambda: at_step(run))
    control.request(run, "stop-now")
    told = obituary(run)
    assert told["state"] == "stopped"
    assert told["signal"] == "SIGKILL"


def test_a_trainer_that_cannot_start(start: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create("missing")
    monkeypatch.setattr(launching, "trainer_argv", lambda run, n=1: ["/nonexistent/python"])
    launching.launch(run)
    told = obituary(run)
    assert told["state"] == "died"
    assert "could not be started" in told["cause"]


def test_a_failure_the_trainer_told_is_the_cause(start: Any) -> None:
    run = start(WRITE + "writer.emit('failure', what='No data.', where='x', fix='y')\nsys.exit(2)\n")
    told = obituary(run)
    assert (told["state"], told["code"], told["cause"]) == ("failed", 2, "No data.")


def test_an_old_ending_does_not_speak_for_a_new_attempt(start: Any) -> None:
    run = start(WRITE + "writer.emit('finished', outcome='stopped', words='first')\n")
    assert obituary(run)["state"] == "stopped"
    time.sleep(1.1)
    launching.launch(run)  # the same script writes its events again
    wait(lambda: run.exit.exists() and not is_live(run))
    assert read_state(run).state == "stopped"


def test_a_reused_pid_is_not_taken_for_the_trainer(tmp_path: Path) -> None:
    me = identity.describe(os.getpid())
    assert identity.is_alive(me)
    assert not identity.is_alive({**me, "start": me["start"] - 1})
    assert not identity.is_alive({**me, "boot": "another"})
    assert not identity.is_alive(None)
    assert not identity.signal_process({**me, "start": 1}, signal.SIGKILL)


def test_listing_finding_and_privacy(start: Any, home: Path) -> None:
    first = start(WRITE + "writer.emit('finished', outcome='completed', words='ok')\n", "first")
    obituary(first)
    second = start(FOREVER, "second")
    wait(lambda: at_step(second))
    assert [state.name for state in list_runs()] == ["second", "first"]
    assert find_run(None).name == "second"
    assert find_run("first").name == "first"
    with pytest.raises(UserError, match="no run") as caught:
        find_run("secnd")
    assert "second" in caught.value.fix
    with pytest.raises(UserError):
        find_run("../first")
    assert oct(second.path.stat().st_mode & 0o777) == "0o700"
    assert oct(second.events.stat().st_mode & 0o777) == "0o600"


def test_publish_never_leaves_half_a_folder(tmp_path: Path) -> None:
    final = tmp_path / "adapter"
    for content in ("one", "two"):
        staging = tmp_path / ".staging"
        staging.mkdir()
        (staging / "file").write_text(content)
        atomic.publish(staging, final)
        assert (final / "file").read_text() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_the_allocator_grows_its_segments_unless_the_user_set_it_up() -> None:
    from engine.run.launch import ALLOCATOR, environment

    assert {environment({})[name] for name in ALLOCATOR} == {"expandable_segments:True"}
    assert not set(ALLOCATOR) & set(environment({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:128"}))
