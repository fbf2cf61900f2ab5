"""What is going on and what to press, in a sentence or two."""

from __future__ import annotations

from engine.display import duration, printable
from tui.monitor.picture import Picture
from tui.monitor.tutor import STYLES, tutor

# Glyph and colour repeat what the word says.
STATES = {
    "running": ("●", "bold $success"),
    "starting": ("●", "bold $success"),
    "finished": ("✓", "bold $success"),
    "stopped": ("■", "bold $warning"),
    "paused": ("■", "bold $warning"),
    "failed": ("✗", "bold $error"),
    "died": ("✗", "bold $error"),
    "silent": ("?", "bold $warning"),
    "gone": ("✗", "bold $error"),
    "unreadable": ("✗", "bold $error"),
    "new": ("○", "$muted"),
}
ASKED = {
    "checkpoint": "Asked for a checkpoint: it is saved after this step.",
    "evaluate": "Asked for an evaluation: it comes after this step.",
    "pause": "Asked to pause: it saves a checkpoint after this step, and the GPU is free.",
    "stop-and-save": "Asked to stop: it saves a checkpoint after this step and ends.",
    "stop-now": "Asked to stop now: it ends within a few seconds.",
}

Sentence = tuple[str, str, str]
"""Mark, its style, and the words."""


def situation(picture: Picture, run_name: str) -> list[Sentence]:
    """What is going on and what to press; the most important first."""
    status = picture.status
    if picture.share_read is not None:
        return [_hint(f"Reading what has happened so far: {100 * picture.share_read:.0f} % ...")]
    said = [_hint(ASKED[what]) for what in status.asked]
    if picture.bad_lines:
        words = f"{picture.bad_lines:,} lines of the events file make no sense and are left out."
        said.append(("!", "$warning", words))
    glyph, style = STATES.get(status.state, STATES["new"])
    if status.state == "running":
        told = tutor(picture)
        if told[0][0] == STYLES["bad"][0]:  # said whatever else it is busy with
            return [*told, *said]
        if (activity := _activity(picture)) is not None:
            return [*said, _hint(activity)]
        return [*said, *told]
    if status.state == "starting":
        return [*said, _hint("Starting: the trainer has not said anything yet; it takes a few seconds.")]
    if status.state == "silent":
        hint = _hint("A very long step, a slow disk, or it hangs. l shows its log, x stops it.")
        return [(glyph, style, _sentence(status.words)), hint, *said]
    if status.state == "finished":
        return [(glyph, style, f"{_sentence(status.words)} Enter shows the result."), *said]
    if status.state in ("paused", "stopped", "failed", "died"):
        return [*_end(picture), *said]
    if status.state == "new":
        return [_hint(f"It has not been started. Start it with: finetui resume {run_name}"), *said]
    return [(glyph, style, _sentence(status.words)), _hint("Esc goes to the list of runs.")]


def _hint(words: str) -> Sentence:
    return "→", "bold $primary", words


def _end(picture: Picture) -> list[Sentence]:
    model, status = picture.model, picture.status
    failure = model.failure if status.state == "failed" else None
    glyph, style = STATES[status.state]
    lines = [(glyph, style, _sentence(failure.what if failure else status.words))]
    if failure and failure.where:
        lines.append((" ", "$muted", failure.where))
    if failure and failure.fix:
        lines.append(_hint(failure.fix))
    saved = model.checkpoints[-1] if model.checkpoints else None
    onward = f"from step {saved:,.0f}" if saved else "from the start: no checkpoint was saved"
    log = "" if status.state in ("paused", "stopped") else " l shows the log."
    lines.append(_hint(f"r resumes {onward}.{log}"))
    return lines


def _activity(picture: Picture) -> str | None:
    """What the trainer is doing, with how long it has been at it, so that nobody thinks it hangs; None while it trains."""
    model, progress = picture.model, picture.model.progress
    words = printable(progress.words, 300).rstrip(". ") or "Working"
    if progress.phase != "training":
        since = model.phase_since
        at_it = f" ({duration(max(0.0, picture.now - since))} so far)" if since is not None else ""
        return f"{words} ...{at_it}"
    if model.last_metric is None or model.last_metric < (progress.training_since or 0.0):
        return "Training has begun. The first step takes longest."
    return None


def _sentence(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "...")) else f"{text}."
