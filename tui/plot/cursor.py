"""Read a chart's values at a place on x, and move through time."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from tui.plot.axis import short_number, short_time
from tui.plot.chart import ChartData, Line, Points
from tui.plot.raster import x_ends
from tui.plot.series import Bucket, Series

Direction = Literal[-1, 1]
DIGITS = 4  # of a value that is read, one more than the axis shows


class Reading(NamedTuple):
    """What one curve says.

    Attributes:
        name: Of the series, as in the legend; it may hold anything that a file said.
        value: In words: ``1.204``, ``12.4 GiB``, ``1.204 (1.1 to 1.3)`` where several points share the place, ``NaN``.
        role: Names its colour, as in the chart.
    """

    name: str
    value: str
    role: str


def readout(data: ChartData, x: float, width: int = 0) -> list[Reading]:
    """The values of every curve nearest to ``x``: lines first, in their order, then points.

    Args:
        data: The chart.
        x: Where to read.
        width: Columns of the plot. With it a curve gives all that the column under ``x`` shows, without it what its
            nearest bucket holds.

    Returns:
        One reading a series; none for a series without points. A point (an evaluation) that lies in another column
        also says where: ``0.99 at 400``.
    """
    x0, x1 = x_ends(data)
    half = (x1 - x0) / width / 2 if width > 0 else 0.0
    found: list[Reading] = []
    items: list[Line | Points] = [*data.lines, *data.points]
    for item in items:
        bucket = _near(item.series, x, half)
        if bucket is None:
            continue
        value = value_text(bucket, data.y_label)
        if isinstance(item, Points) and not bucket.x0 - half <= x <= bucket.x1 + half:
            value += f" at {place(data, bucket.x0)}"
        found.append(Reading(item.series.name, value, item.role))
    return found


def value_text(bucket: Bucket, unit: str = "") -> str:
    """What a bucket holds: its mean with the unit, and its range when it has more than one value."""
    if not bucket.n:
        return short_number(bucket.last, DIGITS)
    text = f"{short_number(bucket.mean, DIGITS)} {unit}".rstrip()
    if bucket.low < bucket.high:
        text += f" ({short_number(bucket.low, DIGITS)} to {short_number(bucket.high, DIGITS)})"
    return f"{text}, {bucket.bad} not a number" if bucket.bad else text


def place(data: ChartData, x: float) -> str:
    """``x`` in the chart's unit: a whole step with its thousands, or a time since the start."""
    return short_time(x) if data.x_unit == "seconds" else f"{round(x):,}"


def cursor_step(
    data: ChartData,
    width: int,
    x: float | None,
    direction: Direction,
    to: Literal["column", "mark"] = "column",
) -> float | None:
    """Where the cursor goes next.

    Args:
        data: The chart.
        width: Columns of the plot (`LineChart.cursor_step` knows them).
        x: Where the cursor is; None puts it on the newest point in view.
        direction: -1 back in time, 1 forward.
        to: ``column``: the next column in which a curve has a point; ``mark``: the next best value, checkpoint or change.

    Returns:
        The new x inside the part of x that is shown, the old one when there is nothing further, None when the chart is
        empty.
    """
    x0, x1 = x_ends(data)
    if to == "mark" and x is not None:
        marks = sorted({m.x for m in data.marks if m.kind != "cursor" and x0 <= m.x <= x1})
        beyond = [at for at in marks if (at - x) * direction > 0]
        if not beyond:
            return x
        return beyond[0] if direction > 0 else beyond[-1]
    columns = _occupied(data, x0, x1, max(1, width))
    if not columns:
        return x
    if x is None:
        return columns[max(columns)]
    here = min(max(1, width) - 1, max(0, math.floor((x - x0) / (x1 - x0) * max(1, width))))
    beyond_here = [column for column in columns if (column - here) * direction > 0]
    if not beyond_here:
        return min(max(x, x0), x1)
    return columns[min(beyond_here) if direction > 0 else max(beyond_here)]


def scrolled(data: ChartData, direction: Direction, share: float = 0.5) -> tuple[float, float] | None:
    """The part of x to show next when scrolling through time, for ``ChartData.x_range``.

    Args:
        data: The chart as it is shown now, zoomed in or with an ``x_range``.
        direction: -1 back in time, 1 forward.
        share: How far, in widths of what is shown.

    Returns:
        The new range, as wide as before and never before the first point. None at the newest end: then the chart may
        follow the run again, by its ``zoom``.
    """
    x0, x1 = x_ends(data)
    series = data.series()
    first = min((s.first_x for s in series if s.first_x is not None), default=x0)
    last = max((s.last_x for s in series if s.last_x is not None), default=x1)
    start = max(min(0.0, first), x0 + direction * share * (x1 - x0))
    if direction > 0 and start + (x1 - x0) >= last:
        return None
    return start, start + (x1 - x0)


def _near(series: Series, x: float, half: float) -> Bucket | None:
    if half > 0 and (shared := series.columns(x - half, x + half, 1)[0]) is not None:
        return shared
    return series.nearest(x)


def _occupied(data: ChartData, x0: float, x1: float, width: int) -> dict[int, float]:
    """Columns that hold a point, each with the x of its newest point of the first curve that has one there."""
    columns: dict[int, float] = {}
    for series in reversed(data.series()):
        for column, part in enumerate(series.columns(x0, x1, width)):
            if part is not None:
                columns[column] = min(max((part.x0 + part.x1) / 2, x0), x1)
    return columns
