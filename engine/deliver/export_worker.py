"""``python -m engine.deliver.export_worker RUN_DIR JSON``: makes one export.

Messages: ``step`` (words), ``progress`` (done, total in bytes), ``say`` (words), ``done`` (folder), ``cancelled``. It stops
when standard input ends or at SIGTERM, and leaves nothing half-written.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from engine.deliver.export.core import export
from engine.deliver.export.job import Cancelled, Job
from engine.deliver.protocol import input_ended, run_worker, send
from engine.deliver.source import find_trained
from engine.run.layout import RunDir

INTERVAL = 0.2  # seconds between two messages of progress


def main(run_path: str, asked: str) -> int:
    """Export, and tell how far it is."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda signum, frame: stop.set())

    def work(channel: IO[str]) -> None:
        input_ended(stop)
        request = json.loads(asked)
        run = RunDir(Path(run_path))
        job = Job(
            run,
            find_trained(run, request.get("which")),
            request["target"],
            tuple(request.get("quants") or ()),
            Path(request["out"]) if request.get("out") else None,
            request.get("options") or {},
        )
        try:
            made = export(job, _Sending(channel, stop))
        except Cancelled:
            send(channel, "cancelled")
        else:
            send(channel, "done", folder=str(made.folder), proof=made.proof)

    return run_worker(work)


class _Sending:
    """Tells the parent process."""

    def __init__(self, channel: IO[str], stop: threading.Event) -> None:
        self._channel, self._stop = channel, stop
        self._told = 0.0

    def step(self, words: str) -> None:
        self.check()
        self._told = 0.0
        self._send("step", words=words)

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        self.check()
        now = time.monotonic()
        if now - self._told >= INTERVAL or done_bytes >= total_bytes:
            self._told = now
            self._send("progress", done=done_bytes, total=total_bytes)

    def say(self, words: str) -> None:
        self._send("say", words=words)

    def check(self) -> None:
        if self._stop.is_set():
            raise Cancelled

    def _send(self, kind: str, **fields: Any) -> None:
        try:
            send(self._channel, kind, **fields)
        except BrokenPipeError:
            # Nobody listens any more: as good as being asked to stop.
            raise Cancelled from None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
