"""A chart of textual-plotext, redrawn four times a second with a new point: what finetui's charts are compared with."""

from __future__ import annotations

import math
import random

from textual.app import App, ComposeResult
from textual_plotext import PlotextPlot  # type: ignore[import-not-found,unused-ignore]

EVERY = 0.25  # seconds


class PlotApp(App[None]):
    """The loss of a run that goes on."""

    def compose(self) -> ComposeResult:
        yield PlotextPlot()

    def on_mount(self) -> None:
        self._noise = random.Random(7)
        self._points = [self._loss(step) for step in range(2000)]
        self.set_interval(EVERY, self._draw)
        self._draw()

    def _loss(self, step: int) -> float:
        return 0.8 + 1.7 * math.exp(-step / 400) + 0.06 * self._noise.gauss(0, 1)

    def _draw(self) -> None:
        self._points.append(self._loss(len(self._points)))
        plot = self.query_one(PlotextPlot)
        plot.plt.clear_data()
        plot.plt.title("loss")
        plot.plt.plot(self._points, marker="braille")
        plot.refresh()


if __name__ == "__main__":
    PlotApp().run()
