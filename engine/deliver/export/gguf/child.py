"""Running a program that may crash, hang or be cancelled: its output goes to a file, and it never outlives its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.display import printable

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 3


def run_child(
    command: Sequence[str],
    log: Path,
    poll: Callable[[], None],
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        log: File for everything it prints; written anew.
        poll: Called ten times a second; what it raises (such as a cancellation) ends the program first.
        env: Environment variables on top of the present ones.

    Returns:
        Its exit code, negative for the number of a signal.

    Raises:
        OSError: The program or the log cannot be opened.
    """
    with open(log, "wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(_POLL_SECONDS)
                poll()
        finally:
            if process.poll() is None:
                end_process(process)


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a program that has a process group of its own: politely, then for certain."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            return
    process.wait()


def die_with_parent(parent: int) -> None:
    """In the child: be killed as soon as the process that started it ends, however that ends.

    Args:
        parent: Id of that process; where it is gone already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def last_words(log: Path, lines: int = 1) -> str:
    """The last lines that say something in a log, safe to show; empty where there are none."""
    try:
        with open(log, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 20_000))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(" / ".join(said[-lines:]), 400)
