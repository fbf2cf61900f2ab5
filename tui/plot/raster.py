"""Draw a chart as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.plot.axis import Limits, YAxis, x_ticks, x_window
from tui.plot.canvas import Canvas, Row, merge
from tui.plot.chart import ChartData
from tui.plot.glyphs import GLYPHS, Charset, Glyphs, single_width
from tui.plot.lines import Memory, dot_row, draw_lines
from tui.plot.series import LARGEST, SMALLEST, Bucket


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the parts of a chart go.

    Attributes:
        x0: x at the left end of the plot.
        x1: x at the right end, larger.
        limits: Ends of the y axis, None without any finite value.
        left: Columns taken by the y labels.
        width: Columns of the plot itself.
        height: Rows of the plot itself.
        mark_row: Whether a row of marks follows.
        label_row: Whether a row of x labels follows.
        divisions: Parts between the y labels.
    """

    x0: float
    x1: float
    limits: Limits | None
    left: int
    width: int
    height: int
    mark_row: bool
    label_row: bool
    divisions: int

    def column(self, x: float, columns: int) -> int | None:
        """Which of ``columns`` equal parts holds x, None outside."""
        if not self.x0 <= x <= self.x1:
            return None
        return min(columns - 1, int((x - self.x0) / (self.x1 - self.x0) * columns))

    def x_at(self, column: int) -> float | None:
        """x in the middle of a screen column counted from the chart's left edge, None outside the plot."""
        part = column - self.left
        return self.x0 + (part + 0.5) / self.width * (self.x1 - self.x0) if 0 <= part < self.width else None


def plan(data: ChartData, width: int, height: int, y_axis: YAxis | None = None) -> Plan:
    """Divide cells among the parts of a chart.

    Args:
        data: What to show.
        width: Cells per row.
        height: Number of rows.
        y_axis: Remembers the y limits from one drawing to the next.
    """
    x0, x1 = x_ends(data)
    marks = height >= 4 and _has_mark_row(data, x0, x1)
    labels = height >= 3
    rows = max(0, height - marks - labels)
    divisions = 4 if rows >= 12 else 2
    limits = _limits(data, x0, x1, divisions, y_axis or YAxis())
    left = 0
    if limits and width >= 16 and rows >= 2:
        left = max(map(len, limits.labels(divisions))) + 1
    return Plan(x0, x1, limits, left, max(0, width - left), rows, marks, labels, divisions)


def x_ends(data: ChartData) -> tuple[float, float]:
    """The part of x that is shown, the right end larger than the left."""
    if data.x_range:
        x0, x1 = data.x_range
    else:
        first = min((s.first_x for s in data.series() if s.first_x is not None), default=0.0)
        last = max((s.last_x for s in data.series() if s.last_x is not None), default=0.0)
        x0, x1 = x_window(first, last, data.x_max, data.zoom)
    return x0, max(x1, x0 + max(1e-9, abs(x0) * 1e-9))


def _has_mark_row(data: ChartData, x0: float, x1: float) -> bool:
    if any(m.y is None and m.kind != "cursor" and x0 <= m.x <= x1 for m in data.marks):
        return True
    return any(series.has_bad(x0, x1) for series in data.series())


def _limits(data: ChartData, x0: float, x1: float, divisions: int, axis: YAxis) -> Limits | None:
    fixed = [*data.y_include, *(limit.y for limit in data.limits)]
    fixed += [m.y for m in data.marks if m.y is not None and x0 <= m.x <= x1]
    # Without any positive value a logarithmic axis is not possible and a plain one better than nothing.
    for log in (True, False) if data.log else (False,):
        ends = [series.bounds(x0, x1, positive=log) for series in data.series()]
        if values := [v for pair in ends if pair for v in pair]:
            values += [v for v in fixed if _has_place(v, log)]
            return axis.fit(min(values), max(values), divisions, log)
    return None


def _has_place(y: float, log: bool) -> bool:
    return (SMALLEST if log else -LARGEST) < y <= LARGEST


def render(
    data: ChartData,
    width: int,
    height: int,
    charset: Charset = "braille",
    y_axis: YAxis | None = None,
    memory: Memory | None = None,
) -> tuple[Row, ...]:
    """Draw a chart.

    Args:
        data: What to show.
        width: Cells per row.
        height: Number of rows.
        charset: Characters to draw with.
        y_axis: Remembers the y limits from one drawing to the next, so that they rarely move.
        memory: Remembers the cells, so that a new point costs a few columns and not the whole chart.

    Returns:
        Exactly ``height`` rows of exactly ``width`` single-width characters.
    """
    if width <= 0 or height <= 0:
        return ((),) * max(0, height)
    where = plan(data, width, height, y_axis)
    glyphs = GLYPHS[charset]
    canvas = Canvas(where.width, where.height, glyphs)
    bad: set[int] = set()
    memory = memory if memory is not None else Memory()
    if where.limits:
        bad = draw_lines(canvas, data, where.x0, where.x1, where.limits, memory)
        _draw_points(canvas, data, where, where.limits, bad)
        _draw_marks(canvas, data, where, where.limits)
        _draw_limits(canvas, data, where.limits, charset)
    else:
        for series in data.series():
            _note_bad(series.columns(where.x0, where.x1, where.width), bad)
        words = single_width(data.empty, charset)[: where.width]
        canvas.put((where.width - len(words)) // 2, (where.height - 1) // 2, words, "label")
    rows = [memory.row(canvas, y, label) for y, label in enumerate(_y_labels(where))]
    if where.mark_row:
        rows.append(_mark_row(data, where, glyphs, bad))
    if where.label_row:
        rows.append(_x_labels(data, where, charset))
    return tuple(rows)


def _note_bad(parts: Sequence[Bucket | None], bad: set[int]) -> None:
    bad.update(i for i, part in enumerate(parts) if part and part.bad)


def _draw_points(canvas: Canvas, data: ChartData, where: Plan, limits: Limits, bad: set[int]) -> None:
    for number, points in enumerate(data.points):
        glyph = canvas.glyphs.points[number % len(canvas.glyphs.points)]
        parts = points.series.columns(where.x0, where.x1, where.width)
        _note_bad(parts, bad)
        for x, part in enumerate(parts):
            if part and part.n:
                canvas.put(x, _cell_row(canvas, part.mean, limits), glyph, points.role)


def _cell_row(canvas: Canvas, y: float, limits: Limits) -> int:
    return dot_row(y, limits, canvas.rows) * canvas.height // canvas.rows


def _draw_marks(canvas: Canvas, data: ChartData, where: Plan, limits: Limits) -> None:
    for mark in data.marks:
        x = where.column(mark.x, where.width)
        if x is None:
            continue
        if mark.y is not None and _has_place(mark.y, limits.log):
            canvas.put(x, _cell_row(canvas, mark.y, limits), canvas.glyphs.marks[mark.kind], "mark")
        if mark.kind in ("change", "cursor"):
            # A cursor must be seen in the noise of a curve, too; only the curve itself is in front of it.
            cursor = mark.kind == "cursor"
            over, role = (("band", "mark"), "cursor") if cursor else ((), "mark")
            for y in range(canvas.height):
                if canvas.is_free(x, y, over=over):
                    canvas.put(x, y, canvas.glyphs.rule, role)


def _draw_limits(canvas: Canvas, data: ChartData, limits: Limits, charset: Charset) -> None:
    for limit in data.limits:
        if not _has_place(limit.y, limits.log):
            continue
        y = _cell_row(canvas, limit.y, limits)
        words = single_width(limit.label, charset)
        if words:
            words = f" {words}"
            at = (x for x in range(canvas.width - len(words), -1, -1) if canvas.is_free(x, y, len(words)))
            canvas.put(next(at, canvas.width), y, words, limit.role)
        for x in range(canvas.width):
            if canvas.is_free(x, y):
                canvas.put(x, y, canvas.glyphs.limit, limit.role)


def _mark_row(data: ChartData, where: Plan, glyphs: Glyphs, bad: set[int]) -> Row:
    """The row under the plot; where several things share a cell the most alarming one is shown."""
    chars, roles = [" "] * where.width, [""] * where.width
    for kind in ("checkpoint", "best", "change"):
        for mark in data.marks:
            x = where.column(mark.x, where.width)
            if mark.kind == kind and mark.y is None and x is not None:
                chars[x], roles[x] = glyphs.marks[kind], "mark"
    for x in bad:
        chars[x], roles[x] = glyphs.marks["bad"], "bad"
    return merge([" " * where.left, *chars], ["", *roles])


def _y_labels(where: Plan) -> list[str]:
    texts = [""] * where.height
    if where.limits and where.left:
        divisions = where.divisions if where.height > where.divisions else 1
        for i, label in enumerate(where.limits.labels(divisions)):
            texts[round((1 - i / divisions) * (where.height - 1))] = label
    return [f"{text:>{where.left - 1}} " if where.left else "" for text in texts]


def _x_labels(data: ChartData, where: Plan, charset: Charset) -> Row:
    width = where.left + where.width
    chars, roles = [" "] * width, [""] * width
    if not where.limits:
        return merge(chars, roles)
    free = 0
    for x, label in x_ticks(where.x0, where.x1, where.width, data.x_unit):
        column = where.column(x, where.width)
        if column is None:
            continue
        start = min(where.left + column - len(label) // 2, width - len(label))
        if start >= free:
            chars[start : start + len(label)] = label
            roles[start : start + len(label)] = ["axis"] * len(label)
            free = start + len(label) + 2
    words = single_width(data.x_label, charset)
    if free + len(words) <= width:
        chars[width - len(words) :] = words
        roles[width - len(words) :] = ["label"] * len(words)
    return merge(chars, roles)
