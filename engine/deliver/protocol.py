"""JSON lines between a worker process that has torch and a viewer that has not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from engine.errors import UserError
from engine.run.launch import ENVIRONMENT
from engine.run.layout import RunDir

Message = dict[str, Any]


def claim_stdout() -> IO[str]:
    """In the worker: keep stdout for messages and send what libraries print to stderr instead."""
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return mine


def send(channel: IO[str], kind: str, **fields: Any) -> None:
    """Write one message."""
    channel.write(json.dumps({"kind": kind, **fields}, ensure_ascii=True) + "\n")
    channel.flush()


def run_worker(
    work: Callable[[IO[str]], None], explain: Callable[[Exception], UserError | None] = lambda error: None
) -> int:
    """In the worker: do the work and turn what goes wrong into an ``error`` message.

    Args:
        work: Given the channel for messages.
        explain: Turns an exception that the user can do something about into words; None for any other.

    Returns:
        The exit code of the process.
    """
    channel = claim_stdout()
    try:
        work(channel)
    except BrokenPipeError:
        return 0  # whoever asked has gone
    except Exception as error:
        told = error if isinstance(error, UserError) else explain(error)
        if told is not None:
            send(channel, "error", what=told.what, where=told.where, fix=told.fix)
            return 2
        traceback.print_exc()
        send(
            channel,
            "error",
            what=f"{type(error).__name__}: {error}",
            where="the process that holds the model",
            fix="The traceback is in the worker's log in the run's folder.",
        )
        return 1
    return 0


def input_ended(gone: threading.Event | None = None) -> threading.Event:
    """In the worker: an event that is set when standard input ends, because then nobody waits for the rest any more.

    Args:
        gone: The event; a new one without.
    """
    ended = gone or threading.Event()

    def watch() -> None:
        # Not through sys.stdin: its lock would be held when the process ends, which Python takes for a failure.
        while os.read(0, 4096):
            pass
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    return ended


class Worker:
    """A worker process as its parent sees it. Its stderr goes to a file in the run directory, never to a terminal.

    Args:
        module: What it runs.
        run: The run it works on.
        args: Its arguments behind the run's folder.
        env: Variables beside those this process has.
    """

    def __init__(self, module: str, run: RunDir, *args: str, env: Mapping[str, str] | None = None) -> None:
        self.name = module.rsplit(".", 1)[-1]
        self.log = run.path / f"{self.name}.log"
        with _opened(self.log) as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(run.path), *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **ENVIRONMENT, **(env or {})},
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """The process has not ended."""
        return self.process.poll() is None

    def request(self, message: Message) -> None:
        """Send one request.

        Raises:
            UserError: The worker has ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self.ended() from None

    def messages(self) -> Iterator[Message]:
        """Messages as they come; ends with the worker.

        Raises:
            UserError: The worker said that something is wrong, or died.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if message["kind"] == "error":
                raise UserError(message["what"], message["where"], message["fix"])
            yield message
        if self.process.wait() != 0:
            raise self.ended()

    def wait_for(self, kind: str) -> Message:
        """The next message of a kind; others before it are dropped."""
        for message in self.messages():
            if message["kind"] == kind:
                return message
        raise self.ended()

    def close(self) -> None:
        """End the worker."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):  # it ended before it read everything
                self.process.stdin.close()
        try:
            self.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def ended(self) -> UserError:
        """Why it ended, as far as one can tell."""
        name = f"The {self.name.replace('_', ' ')} process"
        if self.process.poll() == -signal.SIGKILL:
            return UserError(
                f"{name} was killed, most likely by the system because main memory ran out.",
                str(self.log),
                "End other programs or take a smaller model, then try again. The run itself is not touched.",
            )
        return UserError(
            f"{name} ended unexpectedly.",
            str(self.log),
            "Read the last lines of that file; the machine may have run out of memory.",
        )


def _opened(log: Path) -> IO[bytes]:
    try:
        return open(log, "ab")
    except OSError:  # a folder that cannot be written is no reason not to look at what is in it
        return open(os.devnull, "ab")
