"""One panel of the monitor on the whole screen: up to three charts above a text."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from tui.monitor.arrangement import panel_text
from tui.monitor.panels import Content
from tui.widgets.line_chart import LineChart
from tui.widgets.pager import Pager

MOST_CHARTS = 3


class MonitorPanel(Vertical):
    """Shows what `tui.monitor.panels` made."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="big"):
            for number in range(MOST_CHARTS):
                yield LineChart(id=f"big{number}")
        yield Pager(id="pane")

    @property
    def pager(self) -> Pager:
        return self.query_one(Pager)

    @property
    def charts(self) -> list[LineChart]:
        """The charts that are in use."""
        return [chart for chart in self.query(LineChart) if chart.display]

    def divide(self, panel: str, num_charts: int, body: int) -> None:
        """Divide the rows; only the size and the panel decide."""
        text = panel_text(panel, body, num_charts)
        self.query_one("#big").display = bool(num_charts)
        for number in range(MOST_CHARTS):
            self.query_one(f"#big{number}").display = number < num_charts
        self.pager.set_class(not num_charts, "-framed")
        self.pager.styles.height = text if num_charts else "1fr"

    def show(self, content: Content) -> None:
        """Draw the charts and the text; what has not changed is not painted."""
        for number, data in enumerate(content.charts):
            self.query_one(f"#big{number}", LineChart).set_data(data)
        if not content.charts:
            self.title(content.title)
        self.pager.show(content.rows)
        if content.chosen is not None:
            self.pager.reveal(content.chosen)

    def title(self, text: str) -> None:
        """The words in the frame of a panel without charts."""
        if str(self.pager.border_title or "") != text:
            self.pager.border_title = text
