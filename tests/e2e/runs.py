"""Whole runs through the real command line, supervisor and trainer, on the embedded model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config.draft import DEMO_RECIPE
from engine.run import identity
from engine.run.events import EventReader, expand
from engine.run.layout import RunDir
from engine.run.state import is_live


def finetui(*args: str, stdin: str | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the program without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "tui", *args],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_dir(name: str) -> RunDir:
    """The run of that name in the test's home."""
    return RunDir(Path(os.environ["FINETUI_HOME"]) / "runs" / name)


def start(name: str, *options: str, config: Path = DEMO_RECIPE) -> RunDir:
    """Start a run in the background."""
    done = finetui("train", "-c", str(config), "--name", name, "--detach", *options)
    assert done.returncode == 0, done.stderr
    return run_dir(name)


def events(run: RunDir) -> list[dict[str, Any]]:
    """All events, metric points one by one."""
    return [point for event in EventReader(run.events).read(1 << 26) for point in expand(event)]


def losses(run: RunDir) -> dict[int, float]:
    """Step to training loss; a step that was trained again after a resume counts with its last value."""
    return {event["step"]: event["loss"] for event in events(run) if event["kind"] == "metric"}


def wait(condition: Callable[[], object], seconds: float = 120, what: str = "") -> None:
    """Poll until true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what or condition}"
        time.sleep(0.02)


def wait_for_step(run: RunDir, step: int) -> None:
    """Until the run has logged that step in its newest attempt."""

    def reached() -> bool:
        points = [event for event in events(run) if event["kind"] == "metric"]
        return bool(points) and points[-1]["step"] >= step

    wait(lambda: reached() or not is_live(run), what=f"step {step}")
    assert reached(), run.log.read_text()[-3000:]


def wait_for_end(run: RunDir, seconds: float = 180) -> dict[str, Any]:
    """Until supervisor and trainer are gone; returns exit.json."""
    wait(lambda: not is_live(run), seconds, f"the end of {run.name}")
    told: dict[str, Any] = json.loads(run.exit.read_text())
    return told


def kill(run: RunDir, role: str, signum: int = signal.SIGKILL) -> None:
    """Send a signal to supervisor or trainer."""
    wait(lambda: identity.read(run.process, role), 10)
    assert identity.signal_process(identity.read(run.process, role), signum)
