"""The list of runs on Home as plain values: filtered, sorted, the runs of a sweep together, one line each."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from textual.content import Content

from engine.display import printable
from engine.run.listing import Curve
from engine.run.state import RunState
from engine.run.sweeps import Sweep
from tui.plot import Charset, Series, sparkline

Sort = Literal["newest", "name", "loss", "state"]
SORTS: tuple[Sort, ...] = ("newest", "name", "loss", "state")
SORT_WORDS = {"newest": "newest first", "name": "by name", "loss": "lowest loss first", "state": "by state"}
# Those that somebody has to do something about come first.
STATES = "running starting silent paused failed died unreadable stopped new finished".split()
STATE_STYLE = {
    "running": "$success", "starting": "$success", "silent": "$warning", "paused": "$warning", "stopped": "$warning",
    "failed": "$error", "died": "$error", "unreadable": "$error", "new": "$muted",
}  # fmt: skip
MARKED = "✓ "
CURVE_POINTS = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list: a run, or a sweep with its runs.

    Attributes:
        runs: The run, or those of the sweep that there are.
        sweep: The sweep; None for a run.
        indented: The run is listed below its sweep.
    """

    runs: tuple[RunState, ...]
    sweep: Sweep | None = None
    indented: bool = False

    @property
    def id(self) -> str:
        """Unique in the list."""
        return f"sweep:{self.sweep.name}" if self.sweep else f"run:{self.runs[0].name}"


def arrange(
    states: Sequence[RunState],
    sweeps: Sequence[Sweep] = (),
    sort: Sort = "newest",
    words: str = "",
    opened: Collection[str] = (),
) -> list[Entry]:
    """The lines of the list.

    Args:
        states: Every run.
        sweeps: Every sweep; one of which two runs or more are left is shown as one line.
        sort: A sweep stands where the first of its runs would.
        words: Only runs in which each of these words occurs; then sweeps are not drawn together.
        opened: Names of the sweeps whose runs are shown.
    """
    wanted = words.casefold().split()
    runs = sorted((run for run in states if _has(run, wanted)), key=lambda run: _place(run, sort))
    there = {run.name for run in runs}
    sweep_of: dict[str, Sweep] = {}
    for sweep in sweeps:
        names = [entry.name for entry in sweep.entries if entry.name in there]
        if not wanted and len(names) > 1:
            sweep_of |= dict.fromkeys(names, sweep)
    entries: list[Entry] = []
    done = set()
    for run in runs:
        group = sweep_of.get(run.name)
        if group is None:
            entries.append(Entry((run,)))
        elif group.name not in done:
            done.add(group.name)
            members = tuple(one for one in runs if sweep_of.get(one.name) is group)
            entries.append(Entry(members, group))
            if group.name in opened:
                entries += [Entry((one,), None, True) for one in members]
    return entries


def _has(run: RunState, wanted: Sequence[str]) -> bool:
    text = " ".join((run.name, run.state, run.model, run.method, run.dataset)).casefold()
    return all(word in text for word in wanted)


def _place(run: RunState, sort: Sort) -> tuple[object, ...]:
    newest = -run.started
    if sort == "name":
        return (run.name, newest)
    if sort == "loss":
        known = run.loss is not None and math.isfinite(run.loss)
        return (not known, run.loss if known else 0.0, newest)
    if sort == "state":
        return (STATES.index(run.state) if run.state in STATES else len(STATES), newest)
    return (newest, run.name)


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths of the columns, from that of the screen."""

    name: int
    state: int
    curve: int
    model: int

    @classmethod
    def of(cls, width: int) -> Columns:
        """At 80 columns the state is one word or two; a wide screen has room for the reason and the model.

        A narrow one does without the curve, and with less of the name.
        """
        if width < 80:
            return cls(22 - min(10, max(0, 63 - width)), 18 - min(9, 80 - width), 8 if width >= 71 else 0, 0)
        extra = max(0, width - 80)
        curve = 8 + min(12, extra // 4)
        model = 24 if width >= 120 else 0
        rest = extra - (curve - 8) - (model + 2 if model else 0)
        name = 22 + min(12, max(0, rest // 3))
        return cls(name, 18 + max(0, rest - (name - 22)), curve, model)


def heading(width: int, shown: int, total: int, sort: Sort, words: str, pending: int, marked: int) -> Content:
    """What is listed, and what the columns are."""
    columns = Columns.of(width)
    runs = f"{total} run" if total == 1 else f"{total} runs"
    what = f"{runs}, {SORT_WORDS[sort]}" if not words else f"{shown} of {runs}"
    if marked:
        what = f"{marked} marked of {runs}"
    elif pending:
        what = f"{runs}, reading ..."
    curve = "curve"[: columns.curve]
    titles = (
        f"{_fit(what, columns.name + 2)} {'state':<{columns.state + 1}}{'done':>5}  {'loss':<8}"
        f"{curve:<{columns.curve + 1}}{'ago':<7}" + ("model" if columns.model else "")
    )
    return Content.styled(titles.rstrip(), "$muted")


def run_line(
    run: RunState,
    width: int,
    drawn: str = "",
    marked: bool = False,
    indented: bool = False,
    now: float | None = None,
) -> Content:
    """A run in one line: name, state, progress, loss, the curve, how long ago.

    Args:
        run: Its state.
        width: Of the screen.
        drawn: Its training loss, from `sketch`.
        marked: For comparing or deleting.
        indented: It belongs to the sweep above.
        now: Unix time.
    """
    columns = Columns.of(width)
    share = f"{100 * min(run.step, run.max_steps) // run.max_steps} %" if run.max_steps else ""
    loss = "" if run.loss is None else f"{run.loss:.3g}" if math.isfinite(run.loss) else "NaN"
    name = _fit(("  " if indented else "") + printable(run.name, 80), columns.name, middle=True)
    return Content.assemble(
        (MARKED if marked else "  ", "bold $primary"),
        f"{name} ",
        (
            f"{_fit(state_words(run, columns.state), columns.state)} ",
            STATE_STYLE.get(run.state, "$foreground"),
        ),
        f"{share:>5}  {loss:<7} ",
        (f"{drawn[: columns.curve]:<{columns.curve}} ", "$primary"),
        (f"{ago(run.updated, now).removesuffix(' ago').replace('just ', ''):<7}", "$muted"),
        (_fit(printable(_short(run.model), 60), columns.model).rstrip(), "$muted"),
    )


def sweep_line(entry: Entry, width: int, opened: bool, marked: bool) -> Content:
    """A sweep in one line: how far it is, and the best loss of its runs."""
    assert entry.sweep is not None
    columns = Columns.of(width)
    losses = [run.loss for run in entry.runs if run.loss is not None and math.isfinite(run.loss)]
    best = f", best {min(losses):.3g}" if losses else ""
    name = _fit(f"{'-' if opened else '+'} {printable(entry.sweep.name, 80)}", columns.name, middle=True)
    return Content.assemble(
        (MARKED if marked else "  ", "bold $primary"),
        (f"{name} ", "bold"),
        _fit(f"sweep{best}: {printable(entry.sweep.words, 200)}", max(10, width - columns.name - 7)).rstrip(),
    )


def state_words(run: RunState, room: int = 40) -> str:
    """The state in a few words; why it died only where there is room for it."""
    if run.state == "silent" and room >= 18:
        return f"silent since {_clock(run.updated)}"
    if run.state in ("died", "failed", "unreadable") and room >= 34:
        return f"{run.state}: {printable(run.words, 200)}"
    return run.state


def details(run: RunState) -> str:
    """What the run is about, in one line."""
    parts = [_short(run.model), run.method, run.dataset]
    steps = f"step {run.step:,} of {run.max_steps:,}" if run.max_steps else ""
    held_out = f"eval loss {run.eval_loss:.3g}" if run.eval_loss is not None else ""
    return " · ".join(printable(part, 60) for part in (*parts, steps, held_out, run.changed) if part)


def sketch(curve: Curve, width: int, charset: Charset) -> str:
    """A curve in one line of that width."""
    series = Series("loss", CURVE_POINTS)
    for place, (_, loss) in enumerate(
        curve
    ):  # by place, because between the pieces of a long file there are gaps
        series.append(place, loss)
    return sparkline(series, width, charset)


def ago(t: float, now: float | None = None) -> str:
    """How long ago a moment was, roughly: ``2 min ago``."""
    seconds = max(0.0, (time.time() if now is None else now) - t)
    if seconds < 60:
        return "just now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return ""


def _clock(t: float) -> str:
    return time.strftime("%H:%M", time.localtime(t))


def _short(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


def _fit(text: str, width: int, middle: bool = False) -> str:
    """Exactly that many cells, so that columns stay where they are whatever a text is made of.

    Args:
        text: What is to be shown.
        width: Cells.
        middle: Leave out the middle of what is too long, because the ends of names differ.
    """
    content = Content(text)
    if content.cell_length > width:
        if middle and width >= 16:
            content = Content(f"{text[: width - 8]}…{text[-7:]}")
        content = content.truncate(width, ellipsis=True)
    return content.plain + " " * max(0, width - content.cell_length)
