"""Say in one line which glyph of a chart is what."""

from __future__ import annotations

import math

from engine.display import printable
from tui.plot.canvas import Row, Run
from tui.plot.chart import ChartData
from tui.plot.glyphs import GLYPHS, Charset, single_width

WORDS = {"best": "best", "checkpoint": "checkpoint", "change": "change", "bad": "not a number"}


def legend(data: ChartData, charset: Charset) -> Row:
    """Title, unit and the curves: ``loss  ── train  ● eval``. Names may hold wide characters."""
    glyphs = GLYPHS[charset]
    title = ", ".join(filter(None, (data.title, data.y_label)))
    keys: dict[tuple[str, str], str] = {}  # a line and points of one name and colour are one thing
    for line in data.lines:
        keys[line.series.name, line.role] = glyphs.key_dotted if line.dotted else glyphs.key
    for number, points in enumerate(data.points):
        sign = glyphs.points[number % len(glyphs.points)]
        keys[points.series.name, points.role] = keys.get((points.series.name, points.role), "") + sign
    runs = [Run(_plain(title, charset), "label")] if title else []
    for (name, role), key in keys.items():
        if len(keys) > 1 or name != data.title:
            runs.append(Run(f"{'  ' if runs else ''}{key}", role))
            runs.append(Run(f" {_plain(name, charset)}", "label"))
    return tuple(runs)


def mark_legend(data: ChartData, charset: Charset) -> Row:
    """The marks that occur in the chart: ``★ best  ▲ checkpoint  ✗ not a number``."""
    found = {mark.kind for mark in data.marks}
    bad = any(series.has_bad(-math.inf, math.inf) for series in data.series())
    kinds = [kind for kind in WORDS if kind in found or (kind == "bad" and bad)]
    glyphs = GLYPHS[charset].marks
    return tuple(
        run
        for number, kind in enumerate(kinds)
        for run in (
            Run(f"{'  ' if number else ''}{glyphs[kind]}", "bad" if kind == "bad" else "mark"),
            Run(f" {WORDS[kind]}", "label"),
        )
    )


def _plain(text: str, charset: Charset) -> str:
    safe = printable(text, limit=60)
    return single_width(safe, charset) if charset == "ascii" else safe
