"""All runs again and again, cheaply: what has not changed since the last look is not read again."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from engine.run.events import expand, number, parse_line
from engine.run.layout import RunDir
from engine.run.state import RunState, is_live, run_dirs, state_in_list

Curve = tuple[tuple[float, float], ...]
"""Step and training loss of some points, in order."""

READ_WHOLE = 128 * 1024  # bytes; of a longer file only pieces are read
PIECES = 40
PIECE = 3 * 1024  # bytes
CURVE_EVERY = 10.0  # seconds between looks at the curve of a run that goes on
METRIC = b'"metric"'


@dataclass(slots=True)
class _Known:
    """What was read of a run, and of which version of its files."""

    run: RunDir
    signature: tuple[object, ...] = ()
    live: bool = False
    state: RunState | None = None
    curve: Curve = ()
    curve_of: object = None
    curve_read: float = field(default=-CURVE_EVERY)


class Listing:
    """Every run with its state and a sketch of its loss. Refreshing twice at a time is refused, so threads may share it."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._busy = threading.Lock()

    @property
    def states(self) -> list[RunState]:
        """The runs that were read so far, newest first."""
        found = [known.state for known in list(self._known.values()) if known.state is not None]
        return sorted(found, key=lambda state: (state.started, state.name), reverse=True)

    @property
    def pending(self) -> int:
        """Runs that were not read yet."""
        return sum(known.state is None for known in list(self._known.values()))

    def curve(self, name: str) -> Curve:
        """A run's training loss; empty as long as it was not read."""
        known = self._known.get(name)
        return known.curve if known else ()

    def refresh(self, seconds: float = 0.2) -> bool:
        """Read what has changed, the newest runs first and their states before their curves.

        Args:
            seconds: After this time the rest is left for the next call.

        Returns:
            Whether everything is up to date.
        """
        if not self._busy.acquire(blocking=False):
            return False
        try:
            return self._refresh(time.monotonic() + seconds)
        finally:
            self._busy.release()

    def _refresh(self, until: float) -> bool:
        changed = self._look()
        for known, signature, live in changed:
            if time.monotonic() > until:
                return False
            known.state = state_in_list(known.run)
            known.signature, known.live = signature, live
        stale = [known for known in self._known.values() if self._wants_curve(known)]
        for known in sorted(stale, key=_modified, reverse=True):
            if time.monotonic() > until:
                return False
            known.curve = losses(known.run.events)
            known.curve_of, known.curve_read = known.signature[:1], time.monotonic()
        return True

    def _look(self) -> list[tuple[_Known, tuple[object, ...], bool]]:
        """Which runs have to be read, by nothing but the times and sizes of their files; forgets those that are gone."""
        before, self._known = self._known, {}
        changed = []
        for run in run_dirs():
            known = self._known[run.name] = before.get(run.name) or _Known(run)
            signature = tuple(_stat(path) for path in (run.events, run.exit, run.path / "changes.json"))
            live = is_live(run)
            # What a live run says also depends on the time: it may have fallen silent.
            if live or known.state is None or (signature, live) != (known.signature, known.live):
                changed.append((known, signature, live))
        return sorted(changed, key=lambda one: _newest(one[1]), reverse=True)

    @staticmethod
    def _wants_curve(known: _Known) -> bool:
        if known.curve_of == known.signature[:1]:
            return False
        return not known.live or time.monotonic() - known.curve_read >= CURVE_EVERY


def losses(path: Path) -> Curve:
    """Steps and training losses of a run; of a long file a sample from all over it, so that it costs the same.

    Args:
        path: An ``events.jsonl``.
    """
    points: list[tuple[float, float]] = []
    try:
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size <= READ_WHOLE:
                starts, length = [0], size
            else:
                starts, length = [(size - PIECE) * number // (PIECES - 1) for number in range(PIECES)], PIECE
            for start in starts:
                handle.seek(start)
                lines = handle.read(length).split(b"\n")
                for line in lines[1:] if start else lines:
                    if METRIC in line:
                        _add(points, line)
    except OSError:
        return ()
    return tuple(points)


def _add(points: list[tuple[float, float]], line: bytes) -> None:
    event = parse_line(line)
    if event is None or event["kind"] != "metric" or not isinstance(event.get("earlier", []), list):
        return
    for point in expand(event):
        step, loss = number(point.get("step")), number(point.get("loss"))
        if step is None or loss is None or not isfinite(step):
            continue
        while points and points[-1][0] >= step:  # a resumed run trains those steps again
            points.pop()
        points.append((step, loss))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _newest(signature: tuple[object, ...]) -> int:
    events = signature[0]
    return events[0] if isinstance(events, tuple) else 0


def _modified(known: _Known) -> int:
    return _newest(known.signature)
