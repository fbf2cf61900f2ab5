"""The keys that change how the curves are looked at: back in time, closer, on another scale."""

from __future__ import annotations

from dataclasses import replace

from engine.run.layout import RunDir
from tui.monitor import charts
from tui.monitor.model import MonitorModel
from tui.monitor.picture import Picture
from tui.monitor.view import Place, View, step_of
from tui.plot import ChartData
from tui.plot.cursor import Direction
from tui.screens.monitor_actions import RunActions
from tui.widgets.line_chart import LineChart


class ViewActions(RunActions):
    """Holds the view and changes it.

    Args:
        run: Its directory.

    Attributes:
        view: How the curves are looked at.
        panel: Which panel fills the screen; None for the overview.
        answers_back: How far back in time the samples are looked at.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self.view = View()
        self.panel: str | None = None
        self.answers_back = 0

    # For the screen

    @property
    def picture(self) -> Picture:
        """What is to be shown."""
        raise NotImplementedError

    @property
    def model(self) -> MonitorModel:
        """All that is known about the run."""
        return self.watch_run.model

    def charts_shown(self) -> list[LineChart]:
        """The charts on the screen, the one that the cursor moves on first."""
        raise NotImplementedError

    # Keys

    def look(self, view: View) -> None:
        """Look in another way."""
        self.view = view
        self.redraw()

    def action_choose(self, direction: int) -> None:
        if self.panel != "objective":
            self.say("The arrow keys choose among the numbers of the objective, in panel 2.")
            return
        last = len(self.picture.model.metrics.names(self.model.objective)) - 1
        self.look(replace(self.view, metric=max(0, min(last, self.view.metric + direction))))

    def action_in_time(self, direction: Direction) -> None:
        """Move the cursor on the first chart that is shown, or look at earlier samples."""
        if self.panel == "samples":
            latest = max(0, len(self.picture.model.answer_times()) - 1)
            self.answers_back = max(0, min(latest, self.answers_back - direction))
            self.redraw()
            return
        shown = self.charts_shown()
        if not shown:
            return
        data, at = shown[0].data, self.view.cursor
        x = shown[0].cursor_step(None if at is None else self._x_on(data, at), direction)
        if x is None:
            self.say("There is no value to read yet.")
        else:
            self.look(replace(self.view, cursor=Place(x, data.x_unit == "seconds")))

    def _x_on(self, data: ChartData, at: Place) -> float | None:
        """Where a moment is on a chart."""
        if at.in_seconds == (data.x_unit == "seconds"):
            return at.x
        mark = next((mark.x for mark in data.marks if mark.kind == "cursor"), None)
        return step_of(self.model, at) if mark is None else mark

    def _loss(self) -> ChartData:
        return charts.loss_chart(self.picture.model, self.view)

    def action_zoom(self) -> None:
        self.look(self.view.next_zoom(self._loss()))

    def action_window(self, direction: Direction) -> None:
        if self.view.zoom == 1.0:
            self.say("All of the curves are shown; z shows a part, which < and > move.")
        else:
            self.look(self.view.moved(self._loss(), direction))

    def action_log_scale(self) -> None:
        self.look(replace(self.view, log=not self.view.log))

    def action_smooth(self) -> None:
        self.look(self.view.next_smoothing())

    def action_reset(self) -> None:
        self.look(View(other=self.view.other, metric=self.view.metric))
