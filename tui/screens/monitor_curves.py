"""The monitor's overview: the head, and all curves at once with the newest events."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from tui.monitor import charts, lines
from tui.monitor.arrangement import Arrangement
from tui.monitor.cards import card_line, card_rows
from tui.monitor.expected import Expected
from tui.monitor.picture import Picture
from tui.monitor.samples import sample_rows
from tui.monitor.view import View
from tui.plot import ChartData
from tui.widgets.line_chart import LineChart
from tui.widgets.pager import Pager
from tui.widgets.rows import Rows

PRICE_WIDTH = 22
TIMES_WIDTH = 39


class MonitorHead(Vertical):
    """How far, how long, how much, and the newest values."""

    DEFAULT_CSS = "MonitorHead { height: 3; }"

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Rows(id="title")
            yield Rows(id="step", align="right")
        with Horizontal():
            yield Rows(id="bar")
            yield Rows(id="times")
            yield Rows(id="price", align="right")
        yield Rows(id="numbers")

    def divide(self, width: int, with_price: bool) -> None:
        """Divide the columns of a screen."""
        self.query_one("#price").display = with_price
        rest = width - TIMES_WIDTH - with_price * PRICE_WIDTH
        self.query_one("#bar").styles.width = max(14, min(80, rest))

    def show(
        self, name: str, picture: Picture, view: View, read: list[ChartData], expected: Expected | None
    ) -> None:
        """Draw it.

        Args:
            name: Of the run.
            picture: The run.
            view: With the moment that is read, if one is.
            read: The charts whose values are read at that moment.
            expected: What was to be expected of the run.
        """
        bar, times, numbers = (self.query_one(f"#{part}", Rows) for part in ("bar", "times", "numbers"))
        title = self.query_one("#title", Rows)
        title.set_row(lines.title(name, picture, title.size.width))
        self.query_one("#step", Rows).set_row(lines.step_text(picture.model))
        bar.set_row(lines.bar(picture.model.progress.fraction, bar.size.width))
        times.set_row(lines.times(picture, times.size.width))
        self.query_one("#price", Rows).set_row(lines.price(picture))
        width = numbers.size.width
        if view.cursor is None:
            numbers.set_row(lines.numbers(picture, width, expected))
        else:
            numbers.set_row(lines.reading(picture, view, read, width))


class MonitorCurves(Vertical):
    """All curves, the cards, and what has happened."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="charts"):
            yield LineChart(id="loss")
            yield LineChart(id="memory")
        with Horizontal(id="more"):
            for name in ("metric", "rate", "norm", "speed", "busy"):
                yield LineChart(id=name)
        yield Rows(id="cards")
        with Horizontal(id="below"):
            yield Rows(id="words")
            yield Pager(id="answers")

    def divide(self, where: Arrangement) -> None:
        """Give every part its place."""
        for name, rows in (("charts", where.charts), ("more", where.more_charts), ("cards", where.cards)):
            self.query_one(f"#{name}").styles.height = rows
        for name, shown in (
            ("memory", where.memory), ("more", bool(where.more_charts)), ("busy", where.busy), ("answers", where.samples),
        ):  # fmt: skip
            self.query_one(f"#{name}").display = shown
        for name in ("below", "words"):
            self.query_one(f"#{name}").styles.height = where.words

    def charts_of(self, where: Arrangement) -> list[LineChart]:
        """The charts that are shown, the loss first, then the most telling."""
        names = ["loss"] + ["metric", "rate", "norm", "speed"] * bool(where.more_charts)
        names += ["memory"] * where.memory + ["busy"] * where.busy
        return [self._chart(name) for name in names]

    def show(
        self,
        name: str,
        picture: Picture,
        view: View,
        where: Arrangement,
        why_no_gpu: str,
        more: bool = True,
    ) -> None:
        """Draw it.

        Args:
            name: Of the run.
            picture: The run.
            view: How the user looks at it.
            where: The places.
            why_no_gpu: The reason where there is none.
            more: Draw everything; otherwise the loss and the words only.
        """
        model = picture.model
        words = self.query_one("#words", Rows)
        words.set_rows(lines.words(picture, name, words.size.width, where.words))
        empty = charts.FIRST if picture.status.live else "no values"
        self._chart("loss").set_data(charts.loss_chart(model, view, empty))
        if not more:
            return
        if where.memory:
            chart = self._chart("memory")
            chart.set_data(charts.memory_chart(model, view, chart.size.width))
        if where.more_charts:
            names = model.metrics.names(model.objective)
            metric = names[min(view.metric, len(names) - 1)] if names else None
            chart = self._chart("metric")
            chart.set_data(charts.metric_chart(model, view, metric, chart.size.width))
            self._chart("rate").set_data(charts.rate_chart(model, view))
            self._chart("norm").set_data(charts.norm_chart(model, view))
            self._chart("speed").set_data(charts.speed_chart(model, view))
        if where.busy:
            self._chart("busy").set_data(charts.gpu_charts(model, view)[0])
        cards = self.query_one("#cards", Rows)
        rows = card_rows(model.hardware, cards.size.width, where.cards) if where.cards > 1 else []
        cards.set_rows(rows or [card_line(model.hardware, why_no_gpu, cards.size.width)])
        if where.samples:
            answers = self.query_one("#answers", Pager)
            answers.border_title = "samples"
            answers.show(sample_rows(model))

    def _chart(self, name: str) -> LineChart:
        return self.query_one(f"#{name}", LineChart)
