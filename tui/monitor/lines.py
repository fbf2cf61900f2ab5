"""The text of the monitor, row by row, as pieces of (text, style)."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence

from engine.display import duration, gib
from tui.monitor.model import GpuNow, MonitorModel, fullest
from tui.monitor.notes import Level, loss_text
from tui.monitor.picture import Picture
from tui.monitor.situation import STATES, situation
from tui.plot import short_number

Row = tuple[tuple[str, str], ...]

LEVELS: dict[Level, tuple[str, str]] = {
    "info": (" ", "$muted"),
    "good": ("✓", "$success"),
    "warning": ("!", "$warning"),
    "bad": ("✗", "$error"),
}


def title(name: str, picture: Picture) -> Row:
    """Name, method, and the state in a word."""
    status, model = picture.status, picture.model
    glyph, style = STATES.get(status.state, ("○", ""))
    method = f" · {model.method}" if model.method else ""
    word = status.state if status.state != "unreadable" else "cannot be read"
    if status.live and model.attempt > 1:
        word += f", attempt {model.attempt}"
    frozen = ((" · picture frozen, space goes on", "bold $warning"),) if picture.frozen else ()
    return ((name, "bold"), (f"{method} · ", ""), (f"{glyph} {word}", style), *frozen)


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


def times(picture: Picture) -> str:
    """Gone, left, and when it will be done by the user's clock."""
    gone, left = duration(picture.elapsed), picture.remaining
    if not picture.status.live:
        verb = {"finished": "took", "new": ""}.get(picture.status.state, "worked for")
        return f"{verb} {gone}" if verb and picture.elapsed else ""
    if left is None:
        return f"{gone} gone"
    return f"{gone} gone, {duration(left)} left → {_clock_at(picture.now + left, picture.now)}"


def price(picture: Picture) -> str:
    """What it has cost and will cost; empty when the price of an hour is not known."""
    if picture.price_per_hour is None:
        return ""
    so_far = picture.price_per_hour * picture.elapsed / 3600
    left = picture.remaining
    if left is None:
        return f"${so_far:,.2f}"
    return f"${so_far:,.2f} of about ${so_far + picture.price_per_hour * left / 3600:,.2f}"


def numbers(picture: Picture, width: int) -> str:
    """The newest values, each in a field of fixed width, as many as fit."""
    model = picture.model
    if model.loss.last is None and model.eval_loss.last is None:
        return ""
    rate = model.learning_rate.last
    wide = width >= 96
    fields = [
        f"loss {loss_text(model.loss.last) if model.loss else '':<7}",
        f"eval {loss_text(model.eval_loss.last) if model.eval_loss else '':<7}",
        f"{'' if model.speed is None else f'{model.speed:,.0f} tokens/s':<16}",
        f"{'learning rate' if wide else 'lr'} {'' if rate is None else short_number(rate, 2):<7}",
        f"epoch {'' if model.epoch is None else f'{model.epoch:.1f}':<5}",
        f"gradient norm {'' if model.grad_norm.last is None else short_number(model.grad_norm.last):<7}",
    ]
    text = fields[0]
    for field in fields[1:]:
        if len(text) + 2 + len(field.rstrip()) > width:
            break
        text += f"  {field}"
    return text


def cards(model: MonitorModel, no_gpu: str, width: int) -> Row:
    """The state of each GPU, or of main memory where there is none, with the reason."""
    if model.gpus is None:
        return (("Memory: no sample yet.", "$muted"),)
    if not model.gpus:
        ram = model.ram
        if ram is None or ram.total is None:
            return (("No GPU here, and RAM could not be read.", "$muted"),)
        trainer = "" if ram.trainer is None else f"trainer {gib(ram.trainer * 2**30)}, "
        text = f"No GPU here, so RAM: {trainer}all {_gb(ram.used)} of {ram.total:.1f} GiB"
        return (
            (text, ""),
            *(((f"   {no_gpu}", "$muted"),) if no_gpu and len(text) + len(no_gpu) + 3 <= width else ()),
        )
    pieces: list[tuple[str, str]] = []
    for gpu in model.gpus:
        pieces += [("  ·  ", "$muted")] * bool(pieces) + [_card(gpu)]
    fits = sum(len(text) for text, _ in pieces) <= width
    return tuple(pieces) if fits or len(model.gpus) == 1 else _many(model.gpus)


def _many(gpus: Sequence[GpuNow]) -> Row:
    """More cards than have room, in a few words; a broken one comes first."""
    broken = [_card(gpu) for gpu in gpus if gpu.problem][:1]
    parts = [f"{len(gpus)} GPUs"]
    for unit, values in (
        ("% busy", [gpu.utilization for gpu in gpus if gpu.utilization is not None]),
        ("°C", [gpu.temperature for gpu in gpus if gpu.temperature is not None]),
    ):
        if values:
            parts.append(f"{min(values):.0f} to {max(values):.0f} {unit}")
    if power := sum(gpu.power or 0.0 for gpu in gpus):
        parts.append(f"{power:,.0f} W")
    if (full := fullest(tuple(gpus))) is not None:
        parts.append(f"fullest {full.used or 0.0:.1f} of {full.total or 0.0:.1f} GiB")
    return (*broken, *((("  ·  ", "$muted"),) * bool(broken)), ("  ".join(parts), ""))


def _card(gpu: GpuNow) -> tuple[str, str]:
    if gpu.problem:
        return f"{gpu.label} ✗ {gpu.problem}", "$error"
    parts = []
    if gpu.utilization is not None:
        parts.append(f"{gpu.utilization:3.0f} % busy")
    if gpu.temperature is not None:
        parts.append(f"{gpu.temperature:.0f} °C")
    if gpu.power is not None:
        parts.append(f"{gpu.power:.0f} W")
    if gpu.used is not None and gpu.total:
        parts.append(f"{gpu.used:.1f} of {gpu.total:.1f} GiB")
    else:
        parts.append("memory cannot be read")
    return f"{gpu.label}  " + "  ".join(parts), ""


def words(picture: Picture, run_name: str, width: int, height: int) -> list[Row]:
    """The situation, then the newest events with their clock, newest first; exactly `height` rows."""
    rows: list[Row] = []
    for mark, style, sentence in situation(picture, run_name):
        lines = textwrap.wrap(sentence, max(20, width - 2), max_lines=2, placeholder=" ...") or [""]
        bold = "bold" if style.startswith("bold $error") else ""
        rows.append(((f"{mark} ", style), (lines[0], bold)))
        rows += [(("  ", ""), (line, bold)) for line in lines[1:]]
    rows = rows[:height]
    if len(rows) == 1 and height > 3:
        rows.append(())
    for note in reversed(picture.model.notes):
        if len(rows) >= height:
            break
        if note.text == picture.status.words:
            continue  # it stands above
        glyph, style = LEVELS[note.level]
        rows.append(((f"{clock(note.t)} ", "$muted"), (f"{glyph} ", style), (note.text, "")))
    return rows + [()] * (height - len(rows))


def farewell(picture: Picture, run_name: str) -> str:
    """The line that says how to come back."""
    if picture.status.live:
        return f"You can close this window. Training continues. Back: finetui attach {run_name}"
    if picture.status.state == "finished":
        return f"Talk to it: finetui chat {run_name}"
    return ""


def compact(name: str, picture: Picture, height: int) -> list[Row]:
    """Everything that matters as text, most important first; one line when there is hardly any room."""
    model, status = picture.model, picture.status
    glyph, style = STATES.get(status.state, ("○", ""))
    percent = f"{int(100 * model.progress.fraction)} %" if model.progress.max_steps else ""
    loss = f"loss {loss_text(model.loss.last)}" if model.loss else ""
    evaluated = f"eval {loss_text(model.eval_loss.last)}" if model.eval_loss else ""
    left = picture.remaining
    if height < 2:
        short = "  ".join(filter(None, (percent, loss, f"{duration(left)} left" if left is not None else "")))
        return [((f"{glyph} {status.state}", style), (f"  {short}  ", ""), (name, "bold"))]
    mark, mark_style, sentence = situation(picture, name)[0]
    rows: list[Row] = [
        ((name, "bold"), (" · ", ""), (f"{glyph} {status.state}", style)),
        ((f"{step_text(model)}  {percent}".strip(), ""),),
        ((f"{loss}  {evaluated}".strip(), ""),),
        ((times(picture), ""),),
        ((f"{mark} ", mark_style), (sentence, "")),
        (*cards(model, "", 0),),
        ((price(picture), ""),),
    ]
    rows = [row for row in rows if any(text.strip() for text, _ in row)]
    for note in reversed(model.notes):
        rows.append(((f"{clock(note.t)} ", "$muted"), (note.text, "")))
        if len(rows) >= height:
            break
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


def _gb(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"
