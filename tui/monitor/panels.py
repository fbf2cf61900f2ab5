"""The panels that fill the screen: their charts, and what the numbers mean in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.display import GIB
from tui.monitor import charts
from tui.monitor.cards import card_rows
from tui.monitor.expected import Expected
from tui.monitor.lines import Row, note_row
from tui.monitor.notes import loss_text
from tui.monitor.objective import better, meaning
from tui.monitor.picture import Picture
from tui.monitor.samples import sample_rows
from tui.monitor.view import View, step_of
from tui.plot import Charset, ChartData, Series, short_number, sparkline

PARTS = {
    "model": "its weights",
    "loading": "while the weights are read",
    "adapters": "the small trained matrices",
    "gradients": "which way each trained number should move",
    "optimizer": "its notes on each trained number",
    "optimizer step": "while the trained numbers change",
    "activations": "what the texts leave behind on their way through the model",
    "evaluation": "texts that are only measured",
    "loss": "a score for every word there is",
    "work space": "scratch paper of the matrix library",
    "other cards": "what the cards exchange",
    "reserve": "kept for later by PyTorch, or in pieces too small to use",
    "CUDA": "the driver's own",
}


@dataclass(frozen=True, slots=True)
class Content:
    """What fills the screen.

    Attributes:
        title: Of a panel without charts.
        charts: Up to three, side by side or one below the other.
        rows: Text below them, or alone.
        chosen: Which row is marked, where one can be.
    """

    title: str
    charts: tuple[ChartData, ...]
    rows: list[Row]
    chosen: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What a panel is made from, beside the run.

    Attributes:
        view: The user's keys.
        expected: What was to be expected; None until it is known.
        width: Columns of the panel.
        charset: What the terminal can draw.
        answers_back: How far back in time the samples are looked at.
    """

    view: View
    expected: Expected | None
    width: int
    charset: Charset
    answers_back: int = 0


def _loss(picture: Picture, look: Look) -> Content:
    model, other = picture.model, look.view.other
    rows: list[tuple[str, str, str]] = []
    for series, label, words in (
        (model.loss, "train", "on what it learns from"),
        (model.eval_loss, "eval", "on rows held out, which it never learns from"),
    ):
        if series.last is None:
            continue
        first = model.first_loss if label == "train" else model.first_eval
        low = "" if series.min is None else f", lowest {loss_text(series.min)}"
        bad = sum(bucket.bad for bucket in series.window())
        words = f"{bad:,} of its values are not numbers" if bad else words
        rows.append((label, f"{loss_text(first)} → {loss_text(series.last)}{low}", words))
    if model.best_mark is not None:
        step, value = model.best_mark
        rows.append(("best", f"step {step:,.0f}, eval {loss_text(value)}", "the checkpoint to keep"))
    if other is not None:
        at = step_of(model, look.view.cursor) or float(model.progress.step)
        there = other.loss.at(at)
        value_there = "nothing yet" if there is None else loss_text(there.mean if there.n else there.last)
        rows.append(
            (
                "other run",
                f"{value_there} at step {at:,.0f}; {loss_text(other.loss.last)} in the end",
                other.name,
            )
        )
    return Content("loss", (charts.loss_chart(model, look.view),), _table(look.width, *rows))


def _objective(picture: Picture, look: Look) -> Content:
    model = picture.model
    names = model.metrics.names(model.objective)
    chosen = min(look.view.metric, len(names) - 1) if names else None
    heading = "From the first value to the newest. ↑ should rise, ↓ should fall."
    rows: list[Row] = [((heading, "$muted"),)] if names else []
    for place, name in enumerate(names):
        train, measured = model.metrics.train.get(name), model.metrics.eval.get(name)
        series: Series | None = train if train is not None else measured
        value = "" if series is None or series.last is None else short_number(series.last)
        first = short_number(model.metrics.first.get(name, 0.0))
        should = {"up": "↑", "down": "↓"}.get(better(name), " ")
        words, room = meaning(name), max(10, look.width - 38)
        mark = "▸ " if place == chosen else "  "
        line = "" if series is None else sparkline(series, 10, look.charset)
        bold = "bold" if place == chosen else ""
        rows.append(
            (
                (f"{mark}{first:>8} → {value:<8}", bold or "$muted"), (f"{line} ", "$primary"), (f"{should} ", ""),
                (words if len(words) <= room else f"{words[: room - 1].rstrip()}…", bold),
            )
        )  # fmt: skip
    if not rows:
        rows.append((("This objective tells nothing beside the loss, or nothing yet.", "$muted"),))
    chart = charts.metric_chart(model, look.view, names[chosen] if chosen is not None else None, look.width)
    return Content("objective", (chart,), rows, None if chosen is None else chosen + 1)


def _rate(picture: Picture, look: Look) -> Content:
    model = picture.model
    rows = [
        (label, f"{short_number(series.last)} now, highest {short_number(series.max or 0.0)}", words)
        for label, series, words in (
            ("learning rate", model.learning_rate, "how big each correction is"),
            ("gradient norm", model.grad_norm, "how much the model wants to change; sudden peaks are a warning"),
        )
        if series.last is not None
    ]  # fmt: skip
    view = look.view
    return Content(
        "rate", (charts.rate_chart(model, view), charts.norm_chart(model, view)), _table(look.width, *rows)
    )


def _memory(picture: Picture, look: Look) -> Content:
    model, expected = picture.model, look.expected
    hardware = model.hardware
    chart = charts.memory_chart(model, look.view, look.width, expected)
    told: list[tuple[str, str, str]] = []
    if not hardware.gpus:
        ram = hardware.ram
        if ram is not None:
            told.append(("trainer", f"{_gib(ram.trainer)} of main memory", "PyTorch, the model and the rows"))
            told.append(("all", f"{_gib(ram.used)} of {_gib(ram.total)}", "every program of this machine"))
        return Content("memory", (chart,), _table(look.width, *told))
    for label, series, words in (
        ("used", hardware.used, f"of {_gib(hardware.limit)}: the whole card, with other programs"),
        ("reserved", hardware.reserved, "what PyTorch has taken from the driver"),
        ("allocated", hardware.allocated, "what lies in it now"),
    ):
        if series.last is not None:
            told.append((label, _gib(series.last), words))
    if expected is not None and expected.prediction is not None:
        whole = expected.prediction.smi
        words = f"of the card, at most {_gib(whole.p95 / GIB)}: the line in the chart"
        told.append(("expected", _gib(whole.p50 / GIB), words))
    told += _against_predicted(picture, expected)
    rows = _table(look.width, *told)
    if expected is not None and expected.parts:
        rows += [(), (("What it is made of at the fullest moment, as predicted", "bold $primary"),)]
        most = max(size for _, size in expected.parts)
        for name, size in expected.parts:
            bar = "█" * max(1, round(16 * size / most))
            value = f"{size / GIB:.1f} GiB" if size >= GIB / 20 else "<0.1 GiB"
            rows.append(
                ((f"{name:<15}", "$muted"), (f"{value:>9}  ", ""), (f"{bar:<16}  ", "$primary"), (PARTS.get(name, ""), "$muted"))
            )  # fmt: skip
    return Content("memory", (chart,), rows)


def _against_predicted(picture: Picture, expected: Expected | None) -> list[tuple[str, str, str]]:
    """The most that was measured, beside the most that was predicted."""
    model = picture.model
    measured = model.hardware.peak_allocated
    middle, most = model.predicted or (None, None)
    if middle is None and expected is not None and expected.prediction is not None:
        allocated = expected.prediction.allocated
        middle, most = allocated.p50 / GIB, allocated.p95 / GIB
    if middle is None or most is None:
        return []
    told = [("predicted", _gib(middle), f"in tensors at the fullest moment, at most {_gib(most)}")]
    if measured is not None:
        off = measured / middle - 1
        words = f"{100 * abs(off):.0f} % {'more' if off > 0 else 'less'} than predicted"
        told.append(("measured", _gib(measured), "as predicted" if abs(off) < 0.005 else words))
    return told


def _gpu(picture: Picture, look: Look) -> Content:
    rows = card_rows(picture.model.hardware, look.width, 64)
    if not rows:
        rows = [(("There is no GPU here, or it has not said anything yet.", "$muted"),)]
    return Content("gpu", charts.gpu_charts(picture.model, look.view), rows)


def _speed(picture: Picture, look: Look) -> Content:
    model, expected = picture.model, look.expected
    rows: list[tuple[str, str, str]] = []
    if model.speed is not None:
        rows.append(("speed", f"{model.speed:,.0f}", "tokens per second, mean of the last points"))
    share = expected.share(model.speed) if expected is not None else None
    if share is not None and expected is not None and expected.peak_flops is not None:
        peak = f"{expected.peak_flops / 1e12:,.0f} TFLOP/s by its data sheet"
        rows.append(("share", f"{100 * share:.0f} %", f"of what {expected.card} can do: {peak}"))
        rows.append(("", "", "20 to 50 % is usual; small models and short texts reach less"))
    if (each := model.progress.seconds_per_step) is not None:
        rows.append(("step", f"{each:.2f} s", "each, with evaluations and checkpoints"))
    if model.num_tokens is not None:
        rows.append(("tokens", f"{model.num_tokens:,.0f}", "learned from so far"))
    return Content("speed", (charts.speed_chart(model, look.view),), _table(look.width, *rows))


def _samples(picture: Picture, look: Look) -> Content:
    whens = picture.model.answer_times()
    back = min(look.answers_back, max(0, len(whens) - 1))
    title = "samples: your questions before and now"
    if len(whens) > 1:
        title = f"samples: {whens[-1 - back]}, {len(whens) - back} of {len(whens)} times asked"
    return Content(title, (), sample_rows(picture.model, back))


def _events(picture: Picture, look: Look) -> Content:
    rows = [note_row(note) for note in reversed(picture.model.notes)]
    return Content("events, newest first", (), rows or [(("Nothing has happened yet.", "$muted"),)])


def _log(picture: Picture, look: Look) -> Content:
    return Content("log", (), [])  # the screen follows the file


PANELS: dict[str, Callable[[Picture, Look], Content]] = {
    "loss": _loss, "objective": _objective, "rate": _rate, "memory": _memory, "gpu": _gpu, "speed": _speed,
    "samples": _samples, "events": _events, "log": _log,
}  # fmt: skip
NAMES = tuple(PANELS)
TEXT = ("samples", "events", "log")
"""Panels that have no chart."""


def _table(width: int, *rows: tuple[str, str, str]) -> list[Row]:
    """Label, value and words, each below the other; words are cut where there is no room for them."""
    middle = max((len(value) for _, value, _ in rows), default=0)
    room = max(0, width - 2 - 15 - middle - 3)
    return [
        (
            (f"{label:<15}", "$muted"),
            (f"{value:<{middle}}   ", ""),
            (words if len(words) <= room else f"{words[: max(0, room - 1)].rstrip()}…", "$muted"),
        )
        for label, value, words in rows
    ]


def _gib(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f} GiB"
