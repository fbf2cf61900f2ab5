"""One moment of a run, as the monitor shows it."""

from __future__ import annotations

from dataclasses import dataclass

from tui.monitor.model import MonitorModel
from tui.monitor.watch import Status


@dataclass(frozen=True, slots=True)
class Picture:
    """What the rows are made from.

    Attributes:
        model: What the events told.
        status: How the run stands.
        now: Unix time of the picture.
        price_per_hour: What the machine costs; None when nobody said.
        frozen: The picture stands still.
        share_read: How much of a long history was read, None when all.
        bad_lines: Lines of the events file that could not be used.
    """

    model: MonitorModel
    status: Status
    now: float
    price_per_hour: float | None = None
    frozen: bool = False
    share_read: float | None = None
    bad_lines: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds of work so far."""
        clock = self.model.clock
        return clock.elapsed(self.now) if self.status.live else clock.seconds

    @property
    def remaining(self) -> float | None:
        """Seconds until the last step; None when unknown or over."""
        model = self.model
        eta = model.progress.eta_seconds
        if eta is None or not self.status.live or not model.training:
            return None
        return max(0.0, eta - max(0.0, self.now - (model.last_metric or self.now)))
