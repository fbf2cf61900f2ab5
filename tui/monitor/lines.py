"""The text of the monitor, row by row, as pieces of (text, style)."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable

from rich.cells import cell_len

from engine.display import duration, printable
from tui.monitor.cards import card_line
from tui.monitor.expected import Expected
from tui.monitor.model import MonitorModel
from tui.monitor.notes import Level, Note, loss_text
from tui.monitor.picture import Picture
from tui.monitor.situation import STATES, situation
from tui.monitor.view import View, seconds_of, step_of
from tui.plot import ChartData, readout, short_number

Row = tuple[tuple[str, str], ...]

SHORT = {"learning rate": "lr", "gradient norm": "gradient", "tokens per second": "tokens/s"}
LEVELS: dict[Level, tuple[str, str]] = {
    "info": (" ", "$muted"),
    "good": ("✓", "$success"),
    "warning": ("!", "$warning"),
    "bad": ("✗", "$error"),
}


def title(name: str, picture: Picture, width: int = 200) -> Row:
    """Name, method, and the state in a word; in a narrow row a frozen picture says so instead of the method."""
    status, model = picture.status, picture.model
    glyph, style = STATES.get(status.state, ("○", ""))
    method = f" · {model.method}" if model.method else ""
    word = status.state if status.state != "unreadable" else "cannot be read"
    if status.live and model.attempt > 1:
        word += f", attempt {model.attempt}"
    row: Row = ((name, "bold"), (f"{method} · ", ""), (f"{glyph} {word}", style))
    if not picture.frozen:
        return row
    row = (*row, (" · picture frozen, space goes on", "bold $warning"))
    if sum(cell_len(text) for text, _ in row) <= width:
        return row
    return (
        ("picture frozen", "bold $warning"),
        (" · ", ""),
        (name, "bold"),
        (" · ", ""),
        (f"{glyph} {word}", style),
    )


def step_text(model: MonitorModel) -> str:
    """``step 412 of 1,128``, or nothing before there are steps."""
    progress = model.progress
    if not progress.max_steps:
        return ""
    return f"step {progress.step:,} of {progress.max_steps:,}"


def bar(fraction: float, width: int) -> Row:
    """A progress bar with its percentage; `width` counts both."""
    cells = max(4, width - 7)
    full = int(cells * fraction)
    return (("█" * full, "$primary"), ("░" * (cells - full), "$muted"), (f"  {int(100 * fraction):3} %", ""))


def times(picture: Picture, width: int = 80) -> str:
    """Gone, left, and when it will be done by the user's clock (``TZ`` sets it)."""
    gone, left = duration(picture.elapsed), picture.remaining
    if not picture.status.live:
        verb = {"finished": "took", "new": ""}.get(picture.status.state, "worked for")
        return f"{verb} {gone}" if verb and picture.elapsed else ""
    if left is None:
        return f"{gone} gone"
    at = picture.now + left
    text = f"{gone} gone, {duration(left)} left → {_clock_at(at, picture.now)}"
    # A rented machine counts in its own time: UTC, mostly.
    zone = _zone(at)
    return f"{text} {zone}" if zone and len(text) + 1 + len(zone) <= width else text


def price(picture: Picture) -> str:
    """What it has cost and will cost; empty when the price of an hour is not known."""
    if picture.price_per_hour is None:
        return ""
    so_far = picture.price_per_hour * picture.elapsed / 3600
    left = picture.remaining
    if left is None:
        return f"${so_far:,.2f}"
    return f"${so_far:,.2f} of about ${so_far + picture.price_per_hour * left / 3600:,.2f}"


def numbers(picture: Picture, width: int, expected: Expected | None = None) -> str:
    """The newest values, each in a field of fixed width, as many as fit."""
    model = picture.model
    if model.loss.last is None and model.eval_loss.last is None:
        return ""
    rate = model.learning_rate.last
    wide = width >= 96
    share = expected.share(model.speed) if expected is not None else None
    speed = "" if model.speed is None else f"{model.speed:,.0f} tokens/s"
    fields: list[str] = [
        f"loss {loss_text(model.loss.last) if model.loss else '':<7}",
        f"eval {loss_text(model.eval_loss.last):<7}" if model.eval_loss else " " * 12,
        f"{speed:<16}" if share is None or not wide else f"{f'{speed} ({100 * share:.0f} % of the GPU)':<32}",
        f"{'learning rate' if wide else 'lr'} {'' if rate is None else short_number(rate, 2):<7}",
        f"epoch {'' if model.epoch is None else f'{model.epoch:.1f}':<5}",
        f"gradient norm {'' if model.grad_norm.last is None else short_number(model.grad_norm.last):<7}",
    ]
    text = fields[0]
    for field in fields[1:]:
        if len(text) + 2 + len(field.rstrip()) > width:
            break
        text += f"  {field}"
    return text.rstrip()


def reading(picture: Picture, view: View, charts: Iterable[ChartData], width: int) -> Row:
    """What all charts show under the cursor, as much as fits."""
    model = picture.model
    step, seconds = step_of(model, view.cursor), seconds_of(model, view.cursor)
    bucket = None if step is None else model.clock_at.nearest(step)
    when = [] if step is None else [f"step {step:,.0f}"]
    when += [clock(bucket.last)] if bucket is not None else []
    when += [] if when or seconds is None else [f"{duration(seconds)} after the start"]
    pieces: list[tuple[str, str]] = [(f"┊ {' · '.join(when)}", "bold $primary")]
    room = width - len(pieces[0][0])
    for chart in charts:
        x = seconds if chart.x_unit == "seconds" else step
        for name, value, _ in () if x is None else readout(chart, x):
            label = printable(_read_name(chart.title, name), 40)
            room -= len(label) + len(value) + 4
            if room < 0:
                return tuple(pieces)
            pieces += [(f"   {label} ", "$muted"), (value, "")]
    return tuple(pieces)


def _read_name(title: str, name: str) -> str:
    """A curve's name where it stands beside those of other charts."""
    if title != "loss" and name in ("train", "eval"):
        return title if name == "train" else f"{title}, eval"
    return SHORT.get(name, name)


def words(picture: Picture, run_name: str, width: int, height: int) -> list[Row]:
    """The situation, then the newest events with their clock, newest first; exactly `height` rows."""
    rows: list[Row] = []
    for mark, style, sentence in situation(picture, run_name):
        lines = textwrap.wrap(sentence, max(20, width - 2), max_lines=3, placeholder=" ...") or [""]
        bold = "bold" if style.startswith("bold $error") else ""
        rows.append(((f"{mark} ", style), (lines[0], bold)))
        rows += [(("  ", ""), (line, bold)) for line in lines[1:]]
    rows = rows[:height]
    if len(rows) == 1 and height > 3:
        rows.append(())
    for note in reversed(picture.model.notes):
        if len(rows) >= height:
            break
        if note.text.lower() in picture.status.words.lower():
            continue  # it stands above
        rows.append(note_row(note))
    return rows + [()] * (height - len(rows))


def note_row(note: Note) -> Row:
    """An event with its clock."""
    glyph, style = LEVELS[note.level]
    return (f"{clock(note.t)} ", "$muted"), (f"{glyph} ", style), (note.text, "")


def farewell(picture: Picture, run_name: str, width: int = 200) -> str:
    """The line that says how to come back; what is left out of a narrow one is never the command."""
    if picture.status.live:
        back = f"Back: finetui attach {run_name}"
        ways = (
            "You can close this window. Training continues.",
            "Training continues without you.",
            "Training continues.",
        )
        return next((f"{way} {back}" for way in ways if len(way) + 1 + len(back) <= width), back)
    if picture.status.state == "finished":
        return f"Talk to it: finetui chat {run_name}"
    return ""


def compact(name: str, picture: Picture, height: int) -> list[Row]:
    """One line that says all that matters, and more below it where there is room."""
    model, status = picture.model, picture.status
    glyph, style = STATES.get(status.state, ("○", ""))
    percent = f"{int(100 * model.progress.fraction)} %" if model.progress.max_steps else ""
    loss = f"loss {loss_text(model.loss.last)}" if model.loss else ""
    left = picture.remaining
    short = "  ".join(filter(None, (percent, loss, f"{duration(left)} left" if left is not None else "")))
    first: Row = ((f"{glyph} {status.state}", style), (f"  {short}  " if short else "  ", ""), (name, "bold"))
    if height < 2:
        return [first]
    mark, mark_style, sentence = situation(picture, name)[0]
    evaluated = f"eval {loss_text(model.eval_loss.last)}" if model.eval_loss else ""
    cost = price(picture)
    rows: list[Row] = [
        first,
        ((f"{mark} ", mark_style), (sentence, "")),
        ((f"{step_text(model)}  {evaluated}".strip(), ""),),
        ((f"{times(picture)}  {cost}".strip(), ""),),
        card_line(model.hardware, "", 0),
    ]
    rows = [row for row in rows if any(text.strip() for text, _ in row)]
    for note in reversed(model.notes):
        if len(rows) >= height:
            break
        rows.append(note_row(note))
    return rows[:height]


def clock(t: float) -> str:
    """The time of day, as ``12:58``."""
    try:
        return time.strftime("%H:%M", time.localtime(t))
    except (OverflowError, ValueError, OSError):
        return "--:--"


def _clock_at(t: float, now: float) -> str:
    """When something will be: with the day, if it is not today."""
    try:
        then, today = time.localtime(t), time.localtime(now)
    except (OverflowError, ValueError, OSError):
        return "far away"
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%a %H:%M", then)


def _zone(t: float) -> str:
    """The name of the clock's time zone where it has a short one, such as ``UTC`` or ``CEST``."""
    try:
        name = time.strftime("%Z", time.localtime(t))
    except (OverflowError, ValueError, OSError):
        return ""
    return name if name.isascii() and name.isalpha() and len(name) <= 5 else ""
