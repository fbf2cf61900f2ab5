"""A text to scroll through, painted row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from textual import events
from textual.content import Content

from tui.keymap import bindings
from tui.widgets.rows import Row, Rows


class Pager(Rows):
    """Paragraphs, wrapped to the width.

    Args:
        id: Of the widget.
    """

    can_focus = True
    BINDINGS = bindings("pager")

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self._paragraphs: tuple[Row, ...] = ()
        self._lines: list[Row] = []
        self._wrapped_to = 0
        self._top = 0
        self._follow = False

    def clear(self, follow: bool = False) -> None:
        """Start with another text.

        Args:
            follow: Stay at its end as it grows, unless the user has scrolled up.
        """
        self._follow = follow
        self._top = 0
        self.show(())

    def show(self, paragraphs: Iterable[Row]) -> None:
        """Show the text as it is now.

        Args:
            paragraphs: Pieces of (text, style) each; a paragraph may hold line feeds.
        """
        new = tuple(paragraphs)
        if new == self._paragraphs and self._wrapped_to == self.size.width:
            return
        at_end = self._follow and self._top >= self._last_top
        self._paragraphs = new
        self._wrap()
        if at_end:
            self._top = self._last_top
        self._paint()

    def _wrap(self) -> None:
        self._wrapped_to = self.size.width
        self._lines = [line for row in self._paragraphs for line in wrap(row, max(10, self.size.width))]

    @property
    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.size.height)

    def _paint(self) -> None:
        self._top = max(0, min(self._top, self._last_top))
        self.set_rows(self._lines[self._top : self._top + self.size.height])

    def on_resize(self, event: events.Resize) -> None:
        at_end = self._follow and self._top >= self._last_top
        self._wrap()
        if at_end:
            self._top = self._last_top
        self._paint()

    def action_scroll_rows(self, rows: int) -> None:
        """Move by rows."""
        self._top += rows
        self._paint()

    def action_scroll_pages(self, pages: int) -> None:
        """Move by screens."""
        self.action_scroll_rows(pages * max(1, self.size.height - 1))

    def action_scroll_to_end(self, end: bool) -> None:
        """Go to the first or the last row."""
        self._top = self._last_top if end else 0
        self._paint()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.action_scroll_rows(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.action_scroll_rows(-3)


@lru_cache(maxsize=4096)  # a growing log is wrapped again and again
def wrap(row: Row, width: int) -> tuple[Row, ...]:
    """Break a row into rows of at most `width` cells."""
    text = "".join(text for text, _ in row)
    if text.isascii() and "\n" not in text and len(text) <= width:
        return (row,)
    lines = Content.assemble(*row).wrap(width)
    return tuple(tuple((line.plain[a:b], style) for a, b, style in _pieces(line)) for line in lines)


def _pieces(content: Content) -> Iterator[tuple[int, int, str]]:
    """From, to and style of each piece; the styles of a row never overlap."""
    at = 0
    for span in sorted(content.spans, key=lambda span: span.start):
        if span.start > at:
            yield at, span.start, ""
        yield span.start, span.end, str(span.style)
        at = span.end
    if at < len(content.plain):
        yield at, len(content.plain), ""
