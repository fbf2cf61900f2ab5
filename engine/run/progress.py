"""How far a run is and when it will be done, from its events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from engine.run.events import Event, number, whole


@dataclass(slots=True)
class Progress:
    """Fed with events in order; answers how fast, how far, how long.

    Speed is taken over the last steps in wall time, evaluations and saves included, so the estimate is honest.
    """

    phase: str = ""
    words: str = ""
    step: int = 0
    max_steps: int = 0
    started: float | None = None
    training_since: float | None = None
    latest: dict[str, Any] = field(default_factory=dict)
    eval_loss: float | None = None
    best_eval_loss: float | None = None
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=200))

    def feed(self, event: Event) -> None:
        """Take one event (a metric event's newest point counts)."""
        t = number(event.get("t")) or 0.0
        if self.started is None:
            self.started = t
        kind = event["kind"]
        if kind == "phase":
            self.phase = str(event.get("phase", ""))
            self.words = str(event.get("words", ""))
            if self.phase == "training":
                self.training_since = t
                self._recent.clear()
                self._recent.append((t, whole(event.get("step")) or 0))
            if event.get("resumed_from") is not None:
                self.step = whole(event["resumed_from"]) or 0
        if kind == "progress":
            self.words = str(event.get("words", ""))
        if (max_steps := whole(event.get("max_steps"))) is not None:
            self.max_steps = max_steps
        if kind == "metric" and (step := whole(event.get("step"))) is not None:
            self.step = step
            self._recent.append((t, self.step))
            self.latest = event
        if kind == "evaluation" and (loss := number(event.get("eval_loss"))) is not None:
            self.eval_loss = loss
            if loss == loss and (self.best_eval_loss is None or loss < self.best_eval_loss):
                self.best_eval_loss = loss

    @property
    def fraction(self) -> float:
        """0 to 1."""
        return min(1.0, self.step / self.max_steps) if self.max_steps else 0.0

    @property
    def seconds_per_step(self) -> float | None:
        """Over the recent steps; None before there are two."""
        if len(self._recent) < 2:
            return None
        (t0, s0), (t1, s1) = self._recent[0], self._recent[-1]
        return (t1 - t0) / (s1 - s0) if s1 > s0 and t1 >= t0 else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the last step; None when unknown."""
        each = self.seconds_per_step
        return each * max(0, self.max_steps - self.step) if each is not None and self.max_steps else None
