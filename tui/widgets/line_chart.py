"""A chart on the screen that repaints only the rows that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from rich.segment import Segment
from rich.style import Style
from textual.content import Content, Span
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.style import Style as VisualStyle
from textual.widget import Widget

from tui.plot import (
    Charset,
    ChartData,
    Memory,
    Reading,
    Row,
    YAxis,
    charset,
    cursor_step,
    legend,
    mark_legend,
    plan,
    readout,
    render,
)
from tui.plot.cursor import Direction

ROLES = (
    *("axis", "label", "band", "limit", "mark", "cursor", "bad"),
    *("train", "eval", "compare", "used", "reserved", "allocated"),
)


class LineChart(Widget):
    """Line chart with its title and legend in the border.

    Each role of a run has a component class, ``line-chart--train`` and so on. The colours are among the
    256 of a terminal without true colour.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line-chart--{role}" for role in ROLES}
    DEFAULT_CSS = """
    LineChart {
        border: round #585858;
        border-title-color: $foreground;
        border-subtitle-color: $foreground;
        &.-ascii { border: ascii #585858; }
        .line-chart--axis, .line-chart--label { color: #8a8a8a; }
        .line-chart--train { color: #5fd7ff; }
        .line-chart--eval { color: #ffd75f; }
        .line-chart--compare { color: #afafaf; }
        .line-chart--used { color: #87d787; }
        .line-chart--reserved { color: #5fafaf; }
        .line-chart--allocated { color: #5f87d7; }
        .line-chart--band { color: #005f87; }
        .line-chart--limit { color: #ff875f; }
        .line-chart--mark { color: #d787ff; }
        .line-chart--cursor { color: #ffffff; }
        .line-chart--bad { color: #ff5f5f; }
        &:light {
            border: round #a8a8a8;
            &.-ascii { border: ascii #a8a8a8; }
            .line-chart--axis, .line-chart--label { color: #626262; }
            .line-chart--train { color: #005faf; }
            .line-chart--eval { color: #af5f00; }
            .line-chart--compare { color: #767676; }
            .line-chart--used { color: #008700; }
            .line-chart--reserved { color: #008787; }
            .line-chart--allocated { color: #5f5faf; }
            .line-chart--band { color: #87afd7; }
            .line-chart--limit { color: #d75f00; }
            .line-chart--mark { color: #8700af; }
            .line-chart--cursor { color: #000000; }
            .line-chart--bad { color: #d70000; }
        }
    }
    """

    def __init__(
        self, *, name: str | None = None, id: str | None = None, characters: Charset | None = None
    ) -> None:
        """Make an empty chart.

        Args:
            name: Name of the widget.
            id: Id of the widget.
            characters: What to draw with, by default what the terminal is trusted with.
        """
        self._characters: Charset = characters or charset()
        super().__init__(name=name, id=id, classes="-ascii" if self._characters == "ascii" else None)
        self._data = ChartData()
        self._shown: object = None
        self._titles: list[tuple[str, Sequence[Span]]] = []
        self._y_axis = YAxis()
        self._rows: tuple[Row, ...] = ()
        self._drawn_size = Size(0, 0)
        self._strips: dict[int, Strip] = {}
        self._memory = Memory()
        self._styles_of: dict[str, Style] = {}  # asking textual for a style walks up the whole tree

    @property
    def data(self) -> ChartData:
        """What the chart shows."""
        return self._data

    def set_data(self, data: ChartData) -> None:
        """Show ``data``; rows that look the same as before are not painted again."""
        shown = (data, data.revisions())
        if shown == self._shown:
            return
        # Another view starts with limits of its own; new points of the same view move them only when they must.
        if _view(data) != _view(self._data):
            self._y_axis = YAxis()
        self._data, self._shown = data, shown
        self._set_titles()
        # Without a size there is nothing to compare with: the first painting draws everything.
        if self._drawn_size != self.size:
            return
        width, height = self.size
        before = self._rows
        self._rows = render(data, width, height, self._characters, self._y_axis, self._memory)
        changed = [y for y in range(height) if before[y] is not self._rows[y] and before[y] != self._rows[y]]
        for y in changed:
            self._strips.pop(y, None)
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def x_at(self, column: int) -> float | None:
        """The x under a column counted from the left edge inside the border, None outside the plot."""
        return plan(self._data, *self.size, self._y_axis).x_at(column)

    def cursor_step(
        self, x: float | None, direction: Direction, to: Literal["column", "mark"] = "column"
    ) -> float | None:
        """Where the cursor at ``x`` goes next on this chart, see :func:`tui.plot.cursor_step`."""
        return cursor_step(self._data, self._plot_width, x, direction, to)

    def readout(self, x: float) -> list[Reading]:
        """What the column under ``x`` shows of each curve, see :func:`tui.plot.readout`."""
        return readout(self._data, x, self._plot_width)

    @property
    def _plot_width(self) -> int:
        return plan(self._data, *self.size, self._y_axis).width

    def render_line(self, y: int) -> Strip:
        """One row of the chart; drawn anew only after a change of the data, the size or the colours."""
        if self._drawn_size != self.size:
            self._drawn_size = self.size
            self._rows = render(self._data, *self.size, self._characters, self._y_axis, self._memory)
            self._strips.clear()
        if y not in self._strips:
            row = self._rows[y] if y < len(self._rows) else ()
            segments = [Segment(run.text, self._style(run.role)) for run in row]
            self._strips[y] = Strip(segments, sum(len(run.text) for run in row))
        return self._strips[y]

    def notify_style_update(self) -> None:
        """Forget everything that was painted with the old colours."""
        super().notify_style_update()
        self._strips.clear()
        self._styles_of.clear()
        if self.is_mounted:
            # The component classes get their new colours only after this call.
            self.call_later(self._set_titles)

    def on_resize(self) -> None:
        """Cut the titles to the new width."""
        self._set_titles()

    def _set_titles(self) -> None:
        contents = [self._content(line(self._data, self._characters)) for line in (legend, mark_legend)]
        titles = [(content.plain, content.spans) for content in contents]
        # Setting a title repaints the whole widget, so it happens only when one has changed.
        if titles != self._titles:
            self._titles = titles
            self.border_title, self.border_subtitle = contents

    def _content(self, row: Row) -> Content:
        content = Content.assemble(*((run.text, self._title_style(run.role)) for run in row))
        if self._characters == "ascii":
            # Textual would put an ellipsis beyond ASCII where it cuts.
            return content.truncate(max(0, self.size.width - 4))
        return content

    def _style(self, role: str) -> Style:
        if role not in self._styles_of:
            known = role in ROLES
            self._styles_of[role] = (
                self.get_component_rich_style(f"line-chart--{role}") if known else self.rich_style
            )
        return self._styles_of[role]

    def _title_style(self, role: str) -> VisualStyle | str:
        if role == "label" or role not in ROLES or not self.is_mounted:
            return ""
        return self.get_visual_style(f"line-chart--{role}", partial=True)


def _view(data: ChartData) -> object:
    return data.title, data.log, data.y_include, data.zoom, data.x_range
