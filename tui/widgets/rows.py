"""Lines of text at fixed places that are painted only where they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

Row = tuple[tuple[str, str], ...]
"""Pieces of (text, style)."""


class Rows(Widget):
    """Rows of text; what is too long ends in an ellipsis, what is missing is blank.

    A row is painted from its left end to the last cell that changed, so what changes often belongs to the left.

    Args:
        id: Of the widget.
        align: Where a row begins when it is shorter than the widget.
    """

    ALLOW_SELECT = False
    can_focus = False

    def __init__(self, id: str | None = None, align: Literal["left", "right"] = "left") -> None:
        super().__init__(id=id)
        self._align = align
        self._rows: tuple[Row, ...] = ()
        self._strips: dict[int, Strip] = {}
        self._drawn_size = Size(0, 0)
        self._looks: dict[str, Style | None] = {}

    @property
    def text(self) -> str:
        """All rows as plain text."""
        return "\n".join("".join(text for text, _ in row) for row in self._rows)

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows; equal ones are not painted again."""
        before, self._rows = self._rows, tuple(rows)
        if before == self._rows:
            return
        if self._drawn_size != self.size:
            self.refresh()
            return
        regions = []
        for y in range(self.size.height):
            if _row(before, y) == _row(self._rows, y):
                continue
            old = self._strips.pop(y, None)
            width = self.size.width if old is None else _changed_cells(old, self.render_line(y))
            if width:
                regions.append(Region(0, y, width, 1))
        if regions:
            self.refresh(*regions)

    def set_row(self, text: str | Row, style: str = "") -> None:
        """Show a single row."""
        self.set_rows([((text, style),) if isinstance(text, str) else text])

    def render_line(self, y: int) -> Strip:
        """One row, drawn anew only after a change."""
        if self._drawn_size != self.size:
            self._drawn_size = self.size
            self._strips.clear()
        if y not in self._strips:
            self._strips[y] = self._draw(_row(self._rows, y))
        return self._strips[y]

    def _draw(self, row: Row) -> Strip:
        width = self.size.width
        if not row or not width:
            return Strip.blank(width, self._look(""))
        left = width - sum(len(text) for text, _ in row)
        if left >= 0 and all(text.isascii() or cell_len(text) == len(text) for text, _ in row):
            # What fits needs none of the machinery for markup, wrapping and cutting, which takes ten times as long.
            segments = [Segment(text, self._look(style)) for text, style in row if text]
            segments.insert(
                0 if self._align == "right" else len(segments), Segment(" " * left, self._look(""))
            )
            return Strip(segments, width)
        content = Content.assemble(*row).truncate(width, ellipsis=True)
        if self._align == "right":
            content = content.pad_left(width - content.cell_length)
        strips = Visual.to_strips(self, content, width, 1, self.visual_style)
        return (
            strips[0].adjust_cell_length(width, self.rich_style)
            if strips
            else Strip.blank(width, self.rich_style)
        )

    def _look(self, style: str) -> Style | None:
        """What a style such as ``bold $success`` is in the colours of now."""
        if style not in self._looks:
            strips = Visual.to_strips(self, Content.assemble(("x", style)), 1, 1, self.visual_style)
            self._looks[style] = next(iter(strips[0])).style
        return self._looks[style]

    def notify_style_update(self) -> None:
        """Forget what was drawn with the old colours."""
        super().notify_style_update()
        self._strips.clear()
        self._looks.clear()


def _row(rows: Sequence[Row], y: int) -> Row:
    return rows[y] if y < len(rows) else ()


def _changed_cells(old: Strip, new: Strip) -> int:
    """How many cells from the left must be painted to turn one strip into the other."""
    before, after = _characters(old), _characters(new)
    if len(before) != len(after) or len(after) != new.cell_length:
        return new.cell_length  # with wide characters a position does not tell the cell
    differ = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    return differ[-1] + 1 if differ else 0


def _characters(strip: Strip) -> list[tuple[str, Style | None]]:
    return [
        (char, style)
        for segment in strip
        for style in (segment.style.clear_meta_and_links() if segment.style else None,)
        for char in segment.text
    ]
