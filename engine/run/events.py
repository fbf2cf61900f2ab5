"""The event stream of a run: one writer appends JSON lines, any number of readers follow.

The kinds and their fields are documented in docs/events.md.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VERSION = 1
KINDS = (
    "phase",
    "progress",
    "metric",
    "memory",
    "sample",
    "evaluation",
    "checkpoint",
    "change",
    "warning",
    "failure",
    "finished",
    "heartbeat",
)
METRIC_INTERVAL = 0.25  # seconds: with the other kinds this stays under five lines a second

MAX_LINE = 1 << 20  # bytes; a longer line is no event, and keeping it would cost more with every read

Event = dict[str, Any]


def plain(value: Any) -> Any:
    """A value that JSON can hold: non-finite numbers become the strings NaN, Infinity and -Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def number(value: Any) -> float | None:
    """The number an event field holds, or None: the inverse of what `plain` does to non-finite ones."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def whole(value: Any) -> int | None:
    """The whole number an event field holds, or None where it holds none, or none that is finite."""
    found = number(value)
    return int(found) if found is not None and math.isfinite(found) else None


class EventWriter:
    """Appends events to a file; a full or broken disk never stops the caller.

    Metric events that come faster than `METRIC_INTERVAL` share a line: the newest at top level, the ones before
    it under ``earlier``. Every other kind first writes what is pending, so order is kept.
    """

    def __init__(self, path: Path, attempt: int = 1, clock: Callable[[], float] = time.time) -> None:
        self.attempt = attempt
        self._clock = clock
        self._lock = threading.RLock()
        self._pending: list[Event] = []
        self._last_metric = -math.inf
        self._seq = _last_seq(path)
        self.lost_lines = 0
        self._torn = False
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if _ends_torn(path):
            # A killed writer may have left half a line; ours must not continue it.
            with contextlib.suppress(OSError):
                os.write(self._fd, b"\n")

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event now."""
        with self._lock:
            self.flush()
            self._write(kind, fields)

    def metric(self, **fields: Any) -> None:
        """Append a metric point, sharing a line with others when points come fast."""
        with self._lock:
            self._pending.append(fields)
            if time.monotonic() - self._last_metric >= METRIC_INTERVAL:
                self.flush()

    def flush(self) -> None:
        """Write the pending metric points."""
        with self._lock:
            if not self._pending:
                return
            *earlier, newest = self._pending
            self._pending = []
            self._last_metric = time.monotonic()
            self._write("metric", {**newest, "earlier": earlier} if earlier else newest)

    def sync(self) -> None:
        """Force what was written to disk."""
        with self._lock, contextlib.suppress(OSError):
            self.flush()
            os.fsync(self._fd)

    def close(self) -> None:
        with self._lock:
            self.flush()
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _write(self, kind: str, fields: Event) -> None:
        self._seq += 1
        event = {
            "v": VERSION,
            "seq": self._seq,
            "t": round(self._clock(), 3),
            "attempt": self.attempt,
            "kind": kind,
            **plain(fields),
        }
        line = (
            json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str) + "\n"
        )
        data = b"\n" * self._torn + line.encode("utf-8", "backslashreplace")
        try:
            written = os.write(self._fd, data)
            # A disk that fills up takes half a line; the next one must not continue it.
            self._torn = 0 < written < len(data)
            if written != len(data):
                raise OSError("short write")
        except OSError:
            self.lost_lines += 1


def expand(event: Event) -> Iterator[Event]:
    """The metric points of an event, oldest first; other kinds come back as they are."""
    for point in event.get("earlier") or ():
        if isinstance(point, dict):
            yield {**{key: event.get(key) for key in ("v", "seq", "t", "attempt", "kind")}, **point}
    yield {key: value for key, value in event.items() if key != "earlier"}


class EventReader:
    """Follows an event file from the start; call `read` as often as you like.

    A torn last line is kept until its rest arrives. Lines that are not events are counted in `bad_lines` and
    skipped. A file that shrank or was replaced is read again from the start, and `restarted` is set by that read.
    """

    def __init__(self, path: Path, loads: Callable[[bytes], Any] = json.loads) -> None:
        """Follow a file.

        Args:
            path: Of the events; it need not exist yet.
            loads: Reads JSON; a faster one than Python's own makes a long history shorter.
        """
        self.path = path
        self.bad_lines = 0
        self.restarted = False
        self._offset = 0
        self._inode: tuple[int, int] | None = None
        self._tail = b""
        self._loads = loads

    def read(self, max_bytes: int = 1 << 20) -> list[Event]:
        """The events that arrived since the last call, at most about `max_bytes` of them."""
        self.restarted = False
        try:
            with open(self.path, "rb") as handle:
                stat = os.fstat(handle.fileno())
                inode = (stat.st_dev, stat.st_ino)
                if self._inode is not None and (inode != self._inode or stat.st_size < self._offset):
                    self._offset, self._tail, self.restarted = 0, b"", True
                self._inode = inode
                handle.seek(self._offset)
                data = handle.read(max_bytes)
        except OSError:
            return []
        self._offset += len(data)
        *lines, self._tail = (self._tail + data).split(b"\n")
        if len(self._tail) > MAX_LINE:
            # Its end, when it comes, is a broken line of its own.
            self._tail = b""
            self.bad_lines += 1
        return [event for line in lines if (event := self._parse(line)) is not None]

    @property
    def behind(self) -> bool:
        """Whether the file holds more than was read."""
        try:
            return self.path.stat().st_size > self._offset
        except OSError:
            return False

    def _parse(self, line: bytes) -> Event | None:
        if not line.strip():
            return None
        event = parse_line(line, self._loads)
        if event is None:
            self.bad_lines += 1
        return event


def parse_line(line: bytes, loads: Callable[[bytes], Any] = json.loads) -> Event | None:
    """One event, or None when the line is not one."""
    try:
        event = loads(line)
    except (ValueError, RecursionError):
        if loads is json.loads:
            return None
        return parse_line(line)  # stricter readers refuse what is an event all the same
    return event if isinstance(event, dict) and isinstance(event.get("kind"), str) else None


def tail_events(path: Path, num_bytes: int = 64 * 1024) -> list[Event]:
    """The events in the last part of a file, oldest first: enough to tell a run's state cheaply."""
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            start = max(0, size - num_bytes)
            handle.seek(start)
            data = handle.read()
    except OSError:
        return []
    lines = data.split(b"\n")
    if start:
        lines = lines[1:]
    return [event for line in lines if line and (event := parse_line(line)) is not None]


def _last_seq(path: Path) -> int:
    seqs = [event.get("seq") for event in tail_events(path)]
    return max((seq for seq in seqs if isinstance(seq, int)), default=0)


def _ends_torn(path: Path) -> bool:
    try:
        with open(path, "rb") as handle:
            if handle.seek(0, os.SEEK_END) == 0:
                return False
            handle.seek(-1, os.SEEK_END)
            return handle.read(1) != b"\n"
    except OSError:
        return False
