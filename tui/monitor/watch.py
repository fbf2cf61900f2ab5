"""Reading a run while it goes on: events in slices, the state in words, requests that wait. Reads files, nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass

import orjson

from engine.display import printable
from engine.run import control
from engine.run.events import EventReader, number, tail_events
from engine.run.layout import RunDir
from engine.run.state import LIVE, is_live, read_state
from tui.monitor.model import MonitorModel
from tui.monitor.skim import skim

SLICE_EVENTS = 3000
SLICE_SECONDS = 0.1
READ_BYTES = 64 * 1024  # a few hundred events
STATE_EVERY = 5.0  # seconds between looks at the state, unless the run comes alive or ends


@dataclass(frozen=True, slots=True)
class Status:
    """How a run stands.

    Attributes:
        state: As in `engine.run.state`, or ``gone`` (no folder) or ``unreadable``.
        words: The same in a sentence.
        asked: Requests that the trainer has not taken yet.
    """

    state: str
    words: str
    asked: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        return self.state in LIVE


class Watch:
    """Follows one run. Any number of them may follow the same run."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.model = MonitorModel()
        """What is known; of a long history first what samples of it tell, then all."""
        self.status = Status("new", "")
        self._reader = EventReader(run.events, orjson.loads)
        self._whole = self.model
        self._last_seq = 0
        self._caught_up = False
        self._looked = -STATE_EVERY
        self._alive: bool | None = None

    @property
    def behind(self) -> bool:
        """Whether there are events that were not read yet."""
        return self._reader.behind

    @property
    def bad_lines(self) -> int:
        """Lines of the events file that could not be used."""
        return self._reader.bad_lines + self._whole.odd_events

    @property
    def share_read(self) -> float | None:
        """How much of a long file has been read at the start, 0 to 1; None once everything was."""
        if self._caught_up or not self._last_seq:
            return None
        return min(1.0, self._whole.last_seq / self._last_seq)

    def read(self, max_events: int = SLICE_EVENTS, seconds: float = SLICE_SECONDS) -> int:
        """Read one slice of events into the model; returns how many."""
        if not self._last_seq and not self._caught_up:
            self._last_seq = int(_last_seq(self.run))
            if samples := skim(self.run.events):
                self.model = MonitorModel()
                for event in samples:
                    self.model.feed(event)
                return len(samples)  # so that they are shown first
        until = time.monotonic() + seconds
        count = 0
        while count < max_events and time.monotonic() < until:
            events = self._reader.read(READ_BYTES)
            if self._reader.restarted:  # another file has taken its place
                self.model = self._whole = MonitorModel()
            for event in events:
                self._whole.feed(event)
            count += len(events)
            if not self.behind:
                self._caught_up = True
                self.model = self._whole
                break
        return count

    def look(self, now: float | None = None) -> Status:
        """Tell how the run stands; cheap enough to be asked twice a second."""
        alive = is_live(self.run)
        monotonic = time.monotonic()
        if alive != self._alive or monotonic - self._looked >= STATE_EVERY:
            self._alive, self._looked = alive, monotonic
            state, words = self._state(now)
            self.status = Status(state, words)
        asked = tuple(
            what for what in control.REQUESTS if self.status.live and control.is_requested(self.run, what)
        )
        self.status = Status(self.status.state, self.status.words, asked)
        return self.status

    def _state(self, now: float | None) -> tuple[str, str]:
        if not self.run.path.is_dir():
            return "gone", "The folder of this run is gone."
        try:
            self.run.events.open("rb").close()
        except FileNotFoundError:
            pass
        except OSError as error:
            return "unreadable", f"The events of this run cannot be read: {error.strerror}."
        try:
            found = read_state(self.run, now)
        except (ArithmeticError, ValueError, TypeError, OSError):
            return "unreadable", "The newest events of this run make no sense."
        return found.state, printable(found.words, 600)


def _last_seq(run: RunDir) -> float:
    found = (number(event.get("seq")) for event in reversed(tail_events(run.events, 8192)))
    return next((seq for seq in found if seq is not None and 0 < seq < 1e15), 0.0)
