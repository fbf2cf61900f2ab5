"""What a chart shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tui.plot.axis import Unit
from tui.plot.series import Series


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: the mean as a line, and around it the range from smallest to largest value."""

    series: Series
    role: str = "train"
    """Names its colour: train, eval, compare, used, reserved, allocated."""
    dotted: bool = False
    """Tells it apart from another curve without colour."""


@dataclass(frozen=True, slots=True)
class Points:
    """Single values, each with its own glyph, such as evaluations."""

    series: Series
    role: str = "eval"


@dataclass(frozen=True, slots=True)
class Limit:
    """A horizontal line that is always in view, such as the size of the card."""

    y: float
    label: str = ""
    role: str = "limit"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at ``x``.

    With ``y`` its glyph stands at that value, otherwise in a row of its own under the curve. A change and a
    cursor also draw a vertical line.
    """

    x: float
    kind: Literal["best", "checkpoint", "change", "cursor"]
    y: float | None = None


@dataclass(frozen=True, slots=True)
class ChartData:
    """Everything in one chart. The first line is drawn on top of the others, points on top of all."""

    title: str = ""
    y_label: str = ""
    """Unit of y, put after the title: ``GiB``."""
    x_label: str = "step"
    lines: tuple[Line, ...] = ()
    points: tuple[Points, ...] = ()
    limits: tuple[Limit, ...] = ()
    marks: tuple[Mark, ...] = ()
    x_unit: Unit = "number"
    x_max: float | None = None
    """Where the run will end, if known: the axis stops growing there."""
    x_range: tuple[float, float] | None = None
    """Show exactly this part, for scrolling back through time."""
    zoom: float = 1.0
    """Show only this last share of the curve."""
    smoothing: float = 0.0
    """0 is off; 0.9 is strong. Replaces the mean by a moving average, the range stays."""
    log: bool = False
    y_include: tuple[float, ...] = ()
    """Values the y axis always reaches, such as 0 for memory."""
    empty: str = "no values yet"
    """Words shown while there is nothing to draw."""

    def series(self) -> list[Series]:
        """All series, curves first."""
        return [*(line.series for line in self.lines), *(points.series for points in self.points)]

    def revisions(self) -> tuple[int, ...]:
        """Changes whenever one of the series has."""
        return tuple(series.revision for series in self.series())
