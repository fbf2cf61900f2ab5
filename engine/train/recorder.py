"""What the trainer tells the world: events, a heartbeat, and memory samples, from one background thread."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any

from engine.run.events import EventWriter, tail_events, whole
from engine.run.layout import RunDir

HEARTBEAT_INTERVAL = 10.0  # seconds
MEMORY_INTERVAL = 2.0  # seconds; asking NVML more often slows the GPU


class Recorder:
    """The trainer's voice. With several processes only rank 0 speaks."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.rank = int(os.environ.get("RANK", "0"))
        self.silent = self.rank != 0
        self.phase_name = "starting"
        self.attempt = 1 + max((whole(e.get("attempt")) or 0 for e in tail_events(run.events)), default=0)
        self._writer = None if self.silent else EventWriter(run.events, self.attempt)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin heartbeats and memory samples."""
        if not self.silent:
            self._thread.start()

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event."""
        if self._writer:
            self._writer.emit(kind, **fields)

    def metric(self, **fields: Any) -> None:
        """Append a metric point."""
        if self._writer:
            self._writer.metric(**fields)

    def phase(self, name: str, words: str, **fields: Any) -> None:
        """Say what happens now."""
        self.phase_name = name
        self.emit("phase", phase=name, words=words, **fields)
        self.say(f"[{time.strftime('%H:%M:%S')}] {words}")

    def warning(self, words: str, fix: str = "") -> None:
        """Something the user should know."""
        self.emit("warning", words=words, fix=fix)
        self.say(f"[{time.strftime('%H:%M:%S')}] Warning: {words}")

    def say(self, line: str) -> None:
        """One line for the log; a full disk must not end training."""
        if not self.silent:
            with contextlib.suppress(OSError):
                print(line, flush=True)

    @property
    def lost_lines(self) -> int:
        """Events that could not be written."""
        return self._writer.lost_lines if self._writer else 0

    def sync(self) -> None:
        """Force the events to disk, at checkpoints."""
        if self._writer:
            self._writer.sync()

    def close(self) -> None:
        """Last words are out; stop the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._writer:
            self._writer.close()

    def _beat(self) -> None:
        from engine.machine.probe import Sampler

        sampler = Sampler(os.getpid())
        last_heartbeat = 0.0
        while True:
            try:
                self.emit("memory", **sampler.sample().to_dict(), **_torch_memory())
            except Exception as error:  # a failed sample must never end training
                print(f"memory sample failed: {error!r}", file=sys.stderr, flush=True)
            if time.monotonic() - last_heartbeat >= HEARTBEAT_INTERVAL:
                last_heartbeat = time.monotonic()
                self.emit("heartbeat", phase=self.phase_name)
            if self._stop.wait(MEMORY_INTERVAL):
                return


def _torch_memory() -> dict[str, int]:
    """Bytes torch has allocated and reserved on this process's GPU; empty before torch touched one."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not hasattr(cuda, "is_initialized") or not cuda.is_initialized():
        return {}
    return {
        "torch_allocated": cuda.memory_allocated(),
        "torch_reserved": cuda.memory_reserved(),
        "torch_peak_allocated": cuda.max_memory_allocated(),
        "torch_peak_reserved": cuda.max_memory_reserved(),
    }
