"""Events in plain words, one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.display import printable
from engine.run.events import Event, number
from tui.plot import short_number

Level = Literal["info", "good", "warning", "bad"]
LONGEST = 400  # characters of a note

REQUESTS = {
    "checkpoint": "Saving a checkpoint, as asked",
    "evaluate": "Evaluating, as asked",
    "pause": "Saving a checkpoint and pausing, as asked",
    "stop-and-save": "Saving a checkpoint and stopping, as asked",
    "stop-now": "Stopping without saving, as asked",
}


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened.

    Attributes:
        t: Unix time.
        level: How much attention it wants.
        text: Printable, in one line.
    """

    t: float
    level: Level
    text: str


def note_of(event: Event, t: float) -> Note | None:
    """The note on an event; None for the kinds that are shown as numbers."""
    found = _words(event)
    if found is None:
        return None
    level, text = found
    text = printable(" ".join(text.split()), LONGEST)
    return Note(t, level, text) if text else None


def _words(event: Event) -> tuple[Level, str] | None:
    kind, words = event["kind"], str(event.get("words") or "")
    step = _step(event)
    if kind == "phase":
        return "info", words
    if kind == "evaluation":
        best = ", the best so far" if event.get("best") else ""
        return "info", f"Evaluated{step}: loss {loss_text(number(event.get('eval_loss')))}{best}"
    if kind == "checkpoint":
        return "good", f"Checkpoint saved{step}"
    if kind == "change":
        asked = event.get("request")
        return ("info", REQUESTS.get(str(asked), words)) if asked else ("warning", words)
    if kind == "warning":
        return "warning", f"{words} {event.get('fix') or ''}"
    if kind == "failure":
        return "bad", f"Failed: {event.get('what') or 'for an unknown reason'}"
    if kind == "finished":
        return "good", words or "Training has ended."
    return None


def _step(event: Event) -> str:
    step = number(event.get("step"))
    return f" at step {step:,.0f}" if step is not None else ""


def loss_text(value: float | None) -> str:
    """A loss in three decimals, or fewer digits where it is large."""
    if value is None:
        return "unknown"
    return f"{value:.3f}" if abs(value) < 100 else short_number(value)
