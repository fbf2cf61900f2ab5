"""Text charts: pure text in and out, no screen library."""

from __future__ import annotations

from tui.plot.axis import YAxis, short_number, short_time
from tui.plot.canvas import Row, Run
from tui.plot.chart import ChartData, Limit, Line, Mark, Points
from tui.plot.cursor import Reading, cursor_step, place, readout, scrolled
from tui.plot.glyphs import Charset, charset
from tui.plot.legend import legend, mark_legend
from tui.plot.lines import Memory
from tui.plot.raster import plan, render
from tui.plot.series import Bucket, Series
from tui.plot.sparkline import sparkline

__all__ = [
    "Bucket",
    "Charset",
    "ChartData",
    "Limit",
    "Line",
    "Mark",
    "Memory",
    "Points",
    "Reading",
    "Row",
    "Run",
    "Series",
    "YAxis",
    "charset",
    "cursor_step",
    "legend",
    "mark_legend",
    "place",
    "plan",
    "readout",
    "render",
    "scrolled",
    "short_number",
    "short_time",
    "sparkline",
]
