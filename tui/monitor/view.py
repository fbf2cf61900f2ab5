"""How the user looks at the curves: which part of the time, on which scale, with which run beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from tui.monitor.model import MonitorModel
from tui.plot import ChartData, Series, scrolled
from tui.plot.chart import Mark
from tui.plot.cursor import Direction
from tui.plot.raster import x_ends

ZOOMS = (1.0, 0.25, 0.1)  # shares of the curve that one key goes through
SMOOTHINGS = (0.0, 0.6, 0.9)
HOP = 0.5  # of the part that is shown, when moving on to another


@dataclass(frozen=True, slots=True)
class Place:
    """A moment of the run, in the unit of the chart where it was chosen."""

    x: float
    in_seconds: bool = False


@dataclass(frozen=True, slots=True)
class Other:
    """Another run to compare with."""

    name: str
    loss: Series
    eval_loss: Series


@dataclass(frozen=True, slots=True)
class View:
    """What the keys of the monitor change.

    Attributes:
        log: Logarithmic scale of the loss and of other numbers that span powers of ten.
        zoom: Share of the curves that is shown, the newest part unless a window says otherwise.
        smoothing: As in `tui.plot.ChartData`.
        cursor: The moment whose values are read.
        window: The part of the steps that is shown instead of the newest.
        other: A run to compare with.
        metric: Which of the objective's numbers is drawn, by its place in the list.
    """

    log: bool = False
    zoom: float = 1.0
    smoothing: float = 0.0
    cursor: Place | None = None
    window: tuple[float, float] | None = None
    other: Other | None = None
    metric: int = 0

    @property
    def plain(self) -> bool:
        """Everything as it is at first; another run does not count."""
        return replace(self, other=None, metric=0) == View()

    def next_zoom(self, data: ChartData) -> View:
        """The next share; around the cursor if there is one on this chart over the steps."""
        zoom = ZOOMS[(ZOOMS.index(self.zoom) + 1) % len(ZOOMS)]
        at = self.cursor
        if zoom == 1.0 or at is None or at.in_seconds:
            return replace(self, zoom=zoom, window=None)
        x0, x1 = x_ends(replace(data, zoom=1.0, x_range=None))
        width = (x1 - x0) * zoom
        start = min(max(x0, at.x - width / 2), x1 - width)
        return replace(self, zoom=zoom, window=(start, start + width))

    def next_smoothing(self) -> View:
        """Off, some, much."""
        return replace(self, smoothing=SMOOTHINGS[(SMOOTHINGS.index(self.smoothing) + 1) % len(SMOOTHINGS)])

    def moved(self, data: ChartData, direction: Direction) -> View:
        """Another part of the steps; the newest follows the run again."""
        return replace(self, window=scrolled(data, direction, HOP))


def step_of(model: MonitorModel, place: Place | None) -> float | None:
    """The step at a moment; None where there is none yet."""
    if place is None or not place.in_seconds:
        return place.x if place else None
    return _between(((seconds, step) for step, seconds in _knots(model)), place.x)


def seconds_of(model: MonitorModel, place: Place | None) -> float | None:
    """The seconds of work at a moment; None where no step was made yet."""
    if place is None or place.in_seconds:
        return place.x if place else None
    return _between(_knots(model), place.x)


def by_step(model: MonitorModel, view: View, data: ChartData) -> ChartData:
    """A chart over the steps as the user wants to see it."""
    step = step_of(model, view.cursor)
    marks = () if step is None else (Mark(step, "cursor"),)
    return replace(
        data,
        x_max=float(model.progress.max_steps) or None,
        zoom=view.zoom,
        x_range=view.window,
        smoothing=view.smoothing,
        marks=(*data.marks, *marks),
    )


def by_time(model: MonitorModel, view: View, data: ChartData) -> ChartData:
    """A chart over the seconds of work, showing the same part of the run."""
    seconds = seconds_of(model, view.cursor)
    window = None
    if view.window is not None:
        ends = [seconds_of(model, Place(x)) for x in view.window]
        if ends[0] is not None and ends[1] is not None and ends[0] < ends[1]:
            window = ends[0], ends[1]
    return replace(
        data,
        x_label="time",
        x_unit="seconds",
        zoom=view.zoom,
        x_range=window,
        marks=() if seconds is None else (Mark(seconds, "cursor"),),
    )


def _knots(model: MonitorModel) -> Iterator[tuple[float, float]]:
    """Step and seconds of work, growing."""
    for bucket in model.seconds_at.window():
        yield bucket.x0, bucket.low
        if bucket.x1 > bucket.x0:
            yield bucket.x1, bucket.high


def _between(knots: Iterator[tuple[float, float]], x: float) -> float | None:
    """y at x on the line through the knots, and beyond it at its end; None before it and without any."""
    known = list(knots)
    if not known or x < known[0][0]:
        return None if not known else known[0][1]
    for (x0, y0), (x1, y1) in pairwise(known):
        if x0 <= x <= x1:
            return y0 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return known[-1][1]
