"""Measure the charts: time of a drawing, memory of a curve, bytes that a new point sends to the terminal.

`python -m tests.bench.plot` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from array import array
from collections.abc import Callable

from rich.console import Console
from textual.app import App, ComposeResult

from tests.tui.plot.curves import loss
from tui.plot import Charset, ChartData, Line, Series, YAxis, render
from tui.widgets.line_chart import LineChart

NUM_POINTS = 1_000_000
WIDTH, HEIGHT = 100, 20
CURSOR_MOVE = len("\x1b[12;34H")


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """CPU time of one call in milliseconds."""
    start = time.process_time()
    for _ in range(times):
        work()
    return 1000 * (time.process_time() - start) / times


def drawing() -> dict[str, object]:
    """Append a million points, then draw them in each charset."""
    points = [(b.x0, b.mean) for b in loss(2000, 0.1).window()]
    made = Series("train")
    start = time.process_time()
    for step in range(NUM_POINTS):
        made.append(step, points[step * len(points) // NUM_POINTS][1])
    append_us = 1e6 * (time.process_time() - start) / NUM_POINTS
    data = ChartData("loss", lines=(Line(made),))
    charsets: tuple[Charset, ...] = ("braille", "block", "ascii")
    axis = YAxis()
    return {
        "points": NUM_POINTS,
        "append_us": round(append_us, 3),
        "series_bytes": sum(sys.getsizeof(v) for v in vars(made).values() if isinstance(v, array)),
        "size": f"{WIDTH}x{HEIGHT}",
        "render_ms": {
            name: round(cpu_ms(lambda name=name: render(data, WIDTH, HEIGHT, name, axis), 100), 3)
            for name in charsets
        },
    }


class ChartApp(App[None]):
    """One chart of the size measured, without the border."""

    CSS = f"LineChart {{ width: {WIDTH}; height: {HEIGHT}; border: none; }}"

    def compose(self) -> ComposeResult:
        yield LineChart(characters="braille")


async def repainting(num_points: int = 2000) -> dict[str, object]:
    """Feed a noisy curve point by point and count the bytes of the rows that are painted again."""
    app, terminal = ChartApp(), Console(color_system="256", force_terminal=True, width=WIDTH)
    changed, sent, work_ms = [], [], []
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
        chart, made = app.query_one(LineChart), Series("train")
        await pilot.pause()
        rows = [chart.render_line(y) for y in range(HEIGHT)]
        for bucket in loss(num_points, 0.1).window():
            made.append(bucket.x0, bucket.mean)
            data = ChartData("loss", lines=(Line(made),), x_max=num_points)
            work_ms.append(cpu_ms(lambda data=data: chart.set_data(data), 1))
            before, rows = rows, [chart.render_line(y) for y in range(HEIGHT)]
            painted = [row for row, old in zip(rows, before, strict=True) if row is not old]
            changed.append(len(painted))
            sent.append(sum(CURSOR_MOVE + len(row.render(terminal).encode()) for row in painted))
        everything = sum(CURSOR_MOVE + len(row.render(terminal).encode()) for row in rows)
    return {
        "updates": num_points,
        "set_data_ms": round(statistics.mean(work_ms), 3),
        "changed_rows": {"median": statistics.median(changed), "mean": round(statistics.mean(changed), 2)},
        "changed_bytes": {
            "median": statistics.median(sent),
            "mean": round(statistics.mean(sent)),
            "max": max(sent),
        },
        "whole_chart_bytes": everything,
    }


def measure() -> dict[str, object]:
    """All figures of the charts."""
    return {"drawing": drawing(), "repainting": asyncio.run(repainting())}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
