"""Draw the curves of a chart, anew only from where they have changed since the last drawing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tui.plot.axis import Limits
from tui.plot.canvas import Canvas, Cells, Row
from tui.plot.chart import ChartData, Line
from tui.plot.series import Bucket, Series

SMOOTHING_STEPS = 200  # smoothing is per this share of the window, so it looks the same at every width


@dataclass(slots=True)
class _Known:
    """The columns of one series as they were drawn."""

    series: Series
    generation: int
    num_buckets: int
    last_middle: float
    parts: list[Bucket | None]


@dataclass(slots=True)
class Memory:
    """What a drawing leaves for the next one of the same chart; a new one draws everything."""

    view: object = None
    known: list[_Known] = field(default_factory=list)
    cells: Cells | None = None
    bad: set[int] = field(default_factory=set)
    rows: dict[int, tuple[str, list[str], list[str], Row]] = field(default_factory=dict)

    def row(self, canvas: Canvas, y: int, label: str) -> Row:
        """A row of the canvas; the same object as last time when nothing in it has changed."""
        chars, roles = canvas.cells_of(y)
        old = self.rows.get(y)
        if old is not None and old[:3] == (label, chars, roles):
            return old[3]
        row = canvas.merged(label, chars, roles)
        self.rows[y] = (label, chars, roles, row)
        return row


def draw_lines(
    canvas: Canvas, data: ChartData, x0: float, x1: float, limits: Limits, memory: Memory
) -> set[int]:
    """Draw every curve, the first on top; returns the columns of cells that hold a value that is no number."""
    lines = list(reversed(data.lines))
    shapes = tuple((id(line.series), line.role, line.dotted) for line in lines)
    view = (x0, x1, limits, canvas.width, canvas.height, id(canvas.glyphs), data.smoothing, shapes)
    if memory.view != view:
        memory.view, memory.known, memory.cells, memory.bad = view, [], None, set()
    parts, changed = _columns(memory, lines, x0, x1, canvas.columns)
    per_cell = canvas.columns // canvas.width
    # The way to the first changed point begins at the last point before it.
    first = min(
        (max(0, _occupied_before(each, at)) for each, at in zip(parts, changed, strict=True)), default=0
    )
    first_cell = first // per_cell
    bad = {cell for cell in memory.bad if cell < first_cell}
    if memory.cells is not None:
        canvas.restore(memory.cells, first_cell)
    for line, each in zip(lines, parts, strict=True):
        _draw_line(canvas, line, each, _smooth(each, data.smoothing), limits, bad, first_cell * per_cell)
    memory.cells, memory.bad = canvas.snapshot(), bad
    return set(bad)


def _columns(
    memory: Memory, lines: Sequence[Line], x0: float, x1: float, count: int
) -> tuple[list[list[Bucket | None]], list[int]]:
    """The columns of each line, and from which one on they may differ from the last drawing."""
    known: Sequence[_Known | None] = memory.known or [None] * len(lines)
    memory.known, parts, changed = [], [], []
    for line, old in zip(lines, known, strict=True):
        series, start, now = line.series, 0, None
        if old is not None and old.generation == series.generation:
            # Only the bucket that was the last one takes points, and new ones follow it.
            reached = (old.last_middle - x0) / (x1 - x0) * count if old.num_buckets else 0.0
            start = max(0, int(min(count, max(0.0, reached))) - 1)
            now = old.parts[:start] + series.columns(x0, x1, count, start)
        now = now if now is not None else series.columns(x0, x1, count)
        last = series.last_middle
        memory.known.append(_Known(series, series.generation, len(series), last or 0.0, now))
        parts.append(now)
        changed.append(start)
    return parts, changed


def _occupied_before(parts: Sequence[Bucket | None], column: int) -> int:
    """The last column before this one that holds something, -1 without any."""
    return next((i for i in range(min(column, len(parts)) - 1, -1, -1) if parts[i] is not None), -1)


def dot_row(y: float, limits: Limits, rows: int) -> int:
    """The row of dots, from the top, that a value falls into."""
    return round((1 - limits.fraction(y)) * (rows - 1))


def _draw_line(
    canvas: Canvas,
    line: Line,
    parts: Sequence[Bucket | None],
    means: Sequence[float],
    limits: Limits,
    bad: set[int],
    first: int,
) -> None:
    """Draw a curve from the column of dots ``first`` on."""
    per_cell = canvas.columns // canvas.width
    strokes: list[list[tuple[int, int]]] = [[]]
    for column in range(max(0, _occupied_before(parts, first)), len(parts)):
        part = parts[column]
        if part is None:
            continue
        if part.bad and column >= first:
            bad.add(column // per_cell)
        if part.n:
            strokes[-1].append((column, dot_row(means[column], limits, canvas.rows)))
        elif strokes[-1]:
            strokes.append([])
    for stroke in strokes:
        for column, (top, bottom) in _trace(stroke):
            if column < first:
                continue
            if not line.dotted or column % 4 < 2:
                canvas.span(column, top, bottom, line.role)
            part = parts[column]
            if part and part.low < part.high:
                high, low = dot_row(part.high, limits, canvas.rows), dot_row(part.low, limits, canvas.rows)
                # A range that the slope of the curve covers anyway would only blur it.
                if high < top - 1 or low > bottom + 1:
                    canvas.bar(column, high, low)


def _trace(stroke: Sequence[tuple[int, int]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Connect dots by a thin line: for each column the rows from top to bottom that it covers."""
    if not stroke:
        return
    rows: list[int] = []
    for (c0, r0), (c1, r1) in pairwise(stroke):
        rows += [r0] if c1 == c0 + 1 else [r0 + round((r1 - r0) * i / (c1 - c0)) for i in range(c1 - c0)]
    first, enter = stroke[0]
    rows.append(stroke[-1][1])
    for i, (row, after) in enumerate(zip(rows, [*rows[1:], rows[-1]], strict=True)):
        # Neighbouring columns share the way up or down.
        leave = (row + after) // 2 if after > row else (row + after + 1) // 2
        yield first + i, (enter, leave) if enter < leave else (leave, enter)
        enter = leave + (after > row) - (after < row)


def _smooth(parts: Sequence[Bucket | None], smoothing: float) -> list[float]:
    """Means of the parts, or their moving average that weighs by distance, not by number of points."""
    means = [part.mean if part else math.nan for part in parts]
    if not 0 < smoothing < 1:
        return means
    fade = smoothing ** (SMOOTHING_STEPS / len(parts))
    total = weight = 0.0
    for i, mean in enumerate(means):
        total, weight = total * fade, weight * fade
        if not math.isnan(mean):
            total, weight = total + mean, weight + 1
            means[i] = total / weight
    return means
