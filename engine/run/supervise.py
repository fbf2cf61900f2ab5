"""``python -m engine.run.supervise RUN_DIR``: starts the trainer, outlives every terminal, writes the obituary.

A trainer that the kernel kills cannot say so itself; this small process waits for it and writes ``exit.json``. A trainer that
asks to be started again with other settings (`engine.run.changes`) is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from engine.run import atomic, changes, control, identity, lock
from engine.run.events import number, tail_events, whole
from engine.run.layout import RunDir

STOP_NOW_GRACE = 5.0  # seconds the trainer gets to end by itself before SIGKILL
LOCKED = 3  # exit code of the starter when another trainer holds the run


def main(run_path: str) -> int:
    """Take the lock, go into the background, run the trainer to its end.

    Returns:
        To the starter: 0 once the run is ours, `LOCKED` when it is not. The background process never returns there.
    """
    run = RunDir(Path(run_path))
    try:
        lock_fd = lock.acquire(run.lock)
    except lock.LockHeldError:
        return LOCKED
    if os.fork():
        # The starter leaves only now, so whoever launched us knows that the lock is held.
        return 0
    supervisor = _Supervisor(run, lock_fd)
    os._exit(supervisor.run_to_end())


class _Supervisor:
    def __init__(self, run: RunDir, lock_fd: int | None) -> None:
        self.run = run
        self.lock_fd = lock_fd
        self.child: subprocess.Popen[bytes] | None = None
        self.terminated = False
        self.killed_on_request = False

    def run_to_end(self) -> int:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._forward)
        signal.signal(signal.SIGINT, self._forward)
        self.run.exit.unlink(missing_ok=True)
        control.take(self.run)
        changes.accept(self.run)  # one that waits since the machine went down
        kills_before = oom_kills()
        started = time.time()
        restarts = 0
        while True:
            try:
                self._start(started)
            except (OSError, KeyError) as error:
                self._obituary(None, started, ("died", f"The trainer could not be started: {error}."))
                return 1
            code = self._wait()
            change = changes.accept(self.run)
            if change is None:
                self._obituary(code, started, None, oom_kills() > kills_before)
                return 0
            if ended := self._asked_to_end():
                words = f"{change.words} {ended.capitalize()} before that, as asked. Continue with finetui resume."
                self._obituary(code, started, (ended, words))
                return 0
            if restarts == changes.MAX_RESTARTS:
                words = f"Gave up after {restarts} new starts. The last reason: {change.words}"
                self._obituary(code, started, ("failed", words))
                return 0
            restarts += 1
            print(f"[{time.strftime('%H:%M:%S')}] Starting the trainer again ({restarts}).", flush=True)

    def _start(self, started: float) -> None:
        """Start the trainer.

        Raises:
            OSError: It cannot be started.
            KeyError: launch.json does not say how.
        """
        launch = atomic.read_json(self.run.launch) or {}
        self.child = subprocess.Popen(
            [str(part) for part in launch["argv"]],
            env={**os.environ, **launch.get("env", {})},
            stdin=subprocess.DEVNULL,
            pass_fds=() if self.lock_fd is None else (self.lock_fd,),
            cwd=self.run.path,
        )
        if self.terminated:
            self._forward(signal.SIGTERM, None)
        with contextlib.suppress(OSError):
            atomic.write_json(
                self.run.process,
                {
                    "supervisor": identity.describe(os.getpid()),
                    "trainer": identity.describe(self.child.pid),
                    "started": started,
                },
            )

    def _asked_to_end(self) -> str | None:
        """How somebody wants the run to end, stopped or paused, so that the trainer is not started again."""
        waiting = [stop for stop in control.STOPS if control.is_requested(self.run, stop)]
        if waiting == ["pause"] and not (self.terminated or self.killed_on_request):
            return "paused"
        return "stopped" if waiting or self.terminated or self.killed_on_request else None

    def _wait(self) -> int:
        assert self.child is not None
        asked: float | None = None
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.child.wait(timeout=0.25)
            if asked is None and control.is_requested(self.run, "stop-now"):
                asked = time.monotonic()
            if asked is not None and time.monotonic() - asked > STOP_NOW_GRACE:
                self.killed_on_request = True
                self.child.kill()

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        self.terminated = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)

    def _obituary(
        self, code: int | None, started: float, known: tuple[str, str] | None, oom: bool = False
    ) -> None:
        events = tail_events(self.run.events)
        last_step = next((step for e in reversed(events) if (step := whole(e.get("step"))) is not None), 0)
        told = next((e for e in reversed(events) if e["kind"] in ("finished", "failure")), None)
        if told is not None and (number(told.get("t")) or 0) < started - 1:
            told = None
        state, words = known or explain_exit(code, told, self.terminated, self.killed_on_request, oom)
        obituary: dict[str, Any] = {
            "state": state,
            "code": code if code is not None and code >= 0 else None,
            "signal": signal.Signals(-code).name if code is not None and code < 0 else None,
            "last_step": last_step,
            "cause": words,
            "started": started,
            "ended": time.time(),
        }
        with contextlib.suppress(OSError):
            atomic.write_json(self.run.exit, obituary)


def explain_exit(
    code: int | None, told: dict[str, Any] | None, terminated: bool, killed_on_request: bool, oom: bool
) -> tuple[str, str]:
    """Say in words how a trainer ended.

    Args:
        code: Its exit code, negative for a signal, None when it never started.
        told: Its own last ``finished`` or ``failure`` event, if it wrote one in this attempt.
        terminated: Whether this supervisor was asked to stop.
        killed_on_request: Whether it was killed after a stop-now request.
        oom: Whether the kernel's out-of-memory counter of this container rose meanwhile.

    Returns:
        The state (finished, stopped, paused, failed, died) and one sentence.
    """
    # torchrun ends with an error code of its own when it was told to stop, also after its workers ended well.
    if told is not None and told["kind"] == "finished" and (code == 0 or terminated):
        outcome = told.get("outcome")
        state = str(outcome) if outcome in ("stopped", "paused") else "finished"
        return state, str(told.get("words") or "Training is complete.")
    if killed_on_request:
        return "stopped", "Stopped at once, as asked. Continue from the last checkpoint with finetui resume."
    if code is None:
        return "died", "The trainer could not be started."
    if told is not None and told["kind"] == "failure":
        return "failed", str(told.get("what") or "Training failed.")
    if code == -signal.SIGKILL:
        if oom:
            return "died", "The kernel killed the trainer because the machine ran out of memory (RAM)."
        return "died", "The trainer was killed (SIGKILL). Most often the machine ran out of memory (RAM)."
    if code < 0:
        name = signal.Signals(-code).name
        if terminated and code == -signal.SIGTERM:
            return "stopped", "Stopped before the first step, nothing to save."
        return "died", f"The trainer was ended by signal {name}. The last lines of the log may say more."
    return "died", f"The trainer ended with exit code {code}. The last lines of the log say more."


def oom_kills() -> int:
    """How many processes of this container the kernel has killed for memory (cgroup v2, else v1, else 0)."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
