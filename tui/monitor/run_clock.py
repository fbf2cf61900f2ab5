"""How long a run has been working, over all its attempts."""

from __future__ import annotations


class RunClock:
    """Seconds of work from the times of the events.

    The pause between a stop and a resume does not count, and a wall clock that is set back does not take anything away.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Work until the last event."""
        self.last: float | None = None
        """Unix time of the last event."""
        self._attempt = 0

    def feed(self, t: float, attempt: int) -> float:
        """Take the time of an event; returns the seconds of work until then."""
        if self.last is not None and attempt == self._attempt:
            self.seconds += max(0.0, t - self.last)
        self.last, self._attempt = t, attempt
        return self.seconds

    def elapsed(self, now: float) -> float:
        """Seconds of work until now, for a run that is going on."""
        return self.seconds + (max(0.0, now - self.last) if self.last is not None else 0.0)
