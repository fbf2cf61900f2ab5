"""Curves: the loss of several runs in one chart, and what is different between them in a table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Literal

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.display import printable
from engine.run.home import runs_home
from engine.run.layout import RunDir
from tui.keymap import bindings
from tui.monitor.watch import Watch
from tui.plot import ChartData, Line, Points
from tui.plot.series import Series
from tui.screens.base import BaseScreen
from tui.widgets.line_chart import LineChart
from tui.widgets.pager import Pager

POLL = 2.0  # seconds between looks at runs that go on
BREATH = 0.005  # seconds between slices of long histories, for keys and painting
DRAW_EVERY = 0.5  # seconds between pictures while histories are read
ROLES = ("train", "eval", "used", "compare", "reserved", "allocated")
"""Colours of the runs, in this order; what they mean in the monitor plays no part here."""

ZOOMS = (1.0, 0.25, 0.1)  # shares of the curves that `z` goes through

What = Literal["both", "train", "eval"]
WHATS: tuple[What, ...] = ("both", "train", "eval")
TITLES = {"both": "loss: lines train, points eval", "train": "training loss", "eval": "held-out loss"}


class CurvesScreen(BaseScreen):
    """Compares runs.

    Args:
        names: Of the runs; the first few are drawn, all are in the table.
    """

    KEY_GROUPS = ("curves",)
    BINDINGS = bindings("curves")
    CSS_PATH = "curves.tcss"
    AUTO_FOCUS = "Pager"
    HELP = """\
Every run has its colour. The run in front is drawn with a solid line, the others are dotted; Tab puts the next one in \
front. Points are the loss on held-out rows (eval), measured now and then; each run has its own sign.

Lower is better, but only runs with the same data can be compared by their loss. The table below says in which settings the \
runs differ and what came of them, the best first."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = list(names)
        self._watches = [Watch(RunDir(runs_home() / name)) for name in self._names[: len(ROLES)]]
        self._what: What = "both"
        self._front = 0
        self._log = False
        self._zoom = ZOOMS[0]
        self._drawn = 0.0

    def head(self) -> Iterable[Widget]:
        drawn = len(self._watches)
        left_out = f"   the chart has the first {drawn}" if drawn < len(self._names) else ""
        yield Static(
            Content.assemble((f"{len(self._names)} runs side by side", "bold"), (left_out, "$muted")),
            classes="head",
        )

    def body(self) -> ComposeResult:
        yield LineChart(id="losses")
        yield Pager()

    def on_mount(self) -> None:
        self._fit()
        self.query_one(Pager).show([(("Adding up the runs ...", "$muted"),)])
        self.in_background(lambda: _table(self._names), self._tell, "table")
        self._poll()

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    def _fit(self) -> None:
        self.query_one(LineChart).styles.height = max(6, min(24, self.size.height * 6 // 10))

    def _tell(self, table: list[str]) -> None:
        self.query_one(Pager).show([((line, ""),) for line in table])

    # Reading and drawing

    def _poll(self) -> None:
        behind = False
        for watch in self._watches:
            watch.read(seconds=0.05)
            behind = behind or watch.behind
        if not behind or not 0 <= time.monotonic() - self._drawn < DRAW_EVERY:
            self._draw()
        self.set_timer(BREATH if behind else POLL, self._poll)

    def _draw(self) -> None:
        if self.app.screen is not self:
            return
        self._drawn = time.monotonic()
        self.query_one(LineChart).set_data(self.chart())

    def chart(self) -> ChartData:
        """What is to be drawn now; the run in front comes first, because that is drawn on top."""
        order = [*range(self._front, len(self._watches)), *range(self._front)]
        models = [(self._watches[index].model, self._named(index), ROLES[index]) for index in order]
        lines = tuple(
            Line(named(model.loss, name), role, dotted=place > 0)
            for place, (model, name, role) in enumerate(models)
        )
        points = tuple(Points(named(model.eval_loss, name), role) for model, name, role in models)
        reading = any(watch.behind for watch in self._watches)
        return ChartData(
            title=TITLES[self._what],
            lines=lines if self._what != "eval" else (),
            points=points if self._what != "train" else (),
            log=self._log,
            zoom=self._zoom,
            empty="Reading ..." if reading else "no values",
        )

    def _named(self, index: int) -> str:
        return printable(self._watches[index].run.name, 24)

    # Keys

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_what(self) -> None:
        self._what = WHATS[(WHATS.index(self._what) + 1) % len(WHATS)]
        self._draw()

    def action_log_scale(self) -> None:
        self._log = not self._log
        self._draw()

    def action_zoom(self) -> None:
        self._zoom = ZOOMS[(ZOOMS.index(self._zoom) + 1) % len(ZOOMS)]
        self._draw()

    def action_front(self) -> None:
        self._front = (self._front + 1) % len(self._watches)
        self._draw()


def named(series: Series, name: str) -> Series:
    """The series under another name for the legend; its points are the same ones."""
    series.name = name
    return series


def _table(names: Sequence[str]) -> list[str]:
    from engine.cli.compare_table import compared, lines

    return lines(*compared(names))
