"""A text to scroll through, painted row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from rich.cells import cell_len
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

    def reveal(self, paragraph: int) -> None:
        """Scroll as little as it takes to show a paragraph's first row."""
        row = sum(len(wrap(each, max(10, self.size.width))) for each in self._paragraphs[:paragraph])
        top = min(max(self._top, row + 2 - self.size.height), row)
        if top != self._top:
            self._top = top
            self._paint()

    def _wrap(self) -> None:
        self._wrapped_to = self.size.width
        self._lines = [line for row in self._paragraphs for line in wrap(row, max(10, self.size.width))]

    @property
    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.size.height)

    def _paint(self) -> None:
        self._top = max(0, min(self._top, self._last_top))
        shown = self._lines[self._top : self._top + self.size.height]
        below = len(self._lines) - self._top - self.size.height
        if below > 0:
            shown[-1:] = [((f"↓ {below + 1} more", "$muted"),)]
        self.set_rows(shown)

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
    """Break a row into rows of at most `width` cells; a row of several pieces goes on below its second one."""
    text = "".join(text for text, _ in row)
    if text.isascii() and "\n" not in text and len(text) <= width:
        return (row,)
    first, rest = (row[:1], row[1:]) if len(row) > 1 else ((), row)
    indent = cell_len(first[0][0]) if first else 0
    lines = Content.assemble(*rest).wrap(max(10, width - indent))
    heads = [first] + [((" " * indent, ""),) if indent else ()] * (len(lines) - 1)
    return tuple((*head, *_pieces(line)) for head, line in zip(heads, lines, strict=True))


def _pieces(content: Content) -> Iterator[tuple[str, str]]:
    """Text and style of each piece; the styles of a row never overlap."""
    text, at = content.plain, 0
    for start, end, style in sorted(content.spans, key=lambda span: span.start):
        if start > at:
            yield text[at:start], ""
        yield text[start:end], str(style)
        at = end
    if at < len(text):
        yield text[at:], ""
