"""A grid of cells that curves, marks and text are put on, read out as rows of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tui.plot.glyphs import Glyphs


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring cells of one kind.

    Attributes:
        text: Characters, one cell each.
        role: What they are: axis, label, train, eval, band, limit, mark ...; empty for blanks.
    """

    text: str
    role: str


Row = tuple[Run, ...]
Cells = tuple[list[int], list[int], list[str]]
"""The dots of curves, the dots of the ranges around them, and the role of each cell."""


def merge(chars: Iterable[str], roles: Iterable[str]) -> Row:
    """Join neighbouring pieces of text of the same role.

    Blanks show no colour: their role is empty and they join what is before them, because every run costs
    bytes on the wire.
    """
    runs: list[Run] = []
    text: list[str] = []
    current = ""
    for char, role in zip(chars, roles, strict=True):
        if role != current and role:
            if current:
                runs.append(Run("".join(text), current))
                text = []
            current = role
        text.append(char)
    runs.append(Run("".join(text), current))
    return tuple(runs)


class Canvas:
    """Cells of dots (curves and the ranges around them) under a layer of characters."""

    def __init__(self, width: int, height: int, glyphs: Glyphs) -> None:
        self.width = width
        self.height = height
        self.glyphs = glyphs
        self.columns = width * len(glyphs.bits)
        """Columns of dots."""
        self.rows = height * len(glyphs.bits[0])
        """Rows of dots."""
        self._line = [0] * (width * height)
        self._bar = [0] * (width * height)
        self._role = [""] * (width * height)
        self._text: list[dict[int, str]] = [{} for _ in range(height)]

    def span(self, column: int, top: int, bottom: int, role: str) -> None:
        """Set the dots of a column from row ``top`` to ``bottom``."""
        for cell, mask in self._cells(column, top, bottom):
            self._line[cell] |= mask
            self._role[cell] = role

    def bar(self, column: int, top: int, bottom: int) -> None:
        """Set the dots of a column as the range around a curve: sparse inside, exact at both ends."""
        cells, bits = self._cells(column, top, bottom), self.glyphs.bits[column % len(self.glyphs.bits)]
        for cell, mask in cells:
            self._bar[cell] |= mask & self.glyphs.band
            self._role[cell] = self._role[cell] or "band"
        self._bar[cells[0][0]] |= bits[top % len(bits)]
        self._bar[cells[-1][0]] |= bits[bottom % len(bits)]

    def _cells(self, column: int, top: int, bottom: int) -> list[tuple[int, int]]:
        """The cells that hold these dots, with the bits of the dots."""
        masks = self.glyphs.masks
        per_row = len(masks[0])
        x, dx = divmod(column, len(masks))
        first, dy0 = divmod(top, per_row)
        last, dy1 = divmod(bottom, per_row)
        cell = first * self.width + x
        if first == last:
            return [(cell, masks[dx][dy0][dy1])]
        end, full = last * self.width + x, masks[dx][0][-1]
        inner = [(i, full) for i in range(cell + self.width, end, self.width)]
        return [(cell, masks[dx][dy0][-1]), *inner, (end, masks[dx][0][dy1])]

    def put(self, x: int, y: int, text: str, role: str) -> None:
        """Put single-width characters over whatever is there; what leaves the canvas is cut."""
        if 0 <= y < self.height:
            for i, char in enumerate(text, x):
                if 0 <= i < self.width:
                    self._text[y][i] = char
                    self._role[y * self.width + i] = role

    def is_free(self, x: int, y: int, length: int = 1, over: Sequence[str] = ()) -> bool:
        """Whether nothing stands in ``length`` cells from ``x`` on, or only what has one of the roles ``over``."""
        if x < 0 or x + length > self.width or not 0 <= y < self.height:
            return False
        start = y * self.width + x
        return not any(role and role not in over for role in self._role[start : start + length])

    def snapshot(self) -> Cells:
        """What is drawn so far, for :meth:`restore` on another canvas of the same size."""
        return self._line[:], self._bar[:], self._role[:]

    def restore(self, cells: Cells, stop: int) -> None:
        """Take over the columns of cells before ``stop``; nothing may have been drawn yet."""
        width = self.width
        for own, old in zip((self._line, self._bar, self._role), cells, strict=True):
            for start in range(0, width * self.height, width):
                own[start : start + stop] = old[start : start + stop]  # type: ignore[index]

    def cells_of(self, y: int) -> tuple[list[str], list[str]]:
        """Characters and roles of one row of cells."""
        cells = slice(y * self.width, (y + 1) * self.width)
        line, bar = self.glyphs.line, self.glyphs.bar
        # A cell with a curve shows the curve alone, which keeps it crisp inside its range.
        chars = [
            line[dots] if dots else bar or line[around] if around else " "
            for dots, around in zip(self._line[cells], self._bar[cells], strict=True)
        ]
        for x, char in self._text[y].items():
            chars[x] = char
        return chars, self._role[cells]

    @staticmethod
    def merged(label: str, chars: list[str], roles: list[str]) -> Row:
        """A row of cells as runs, after a ``label`` of the axis."""
        return merge([label, *chars], ["axis" if label.strip() else "", *roles])
