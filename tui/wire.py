"""What goes over the line: only the cells that differ from what the terminal already shows, and only when the line is free.

textual sends whole spans of rows with every colour spelt out, and its event loop waits when the line is slow. Here a grid
remembers what the terminal shows, a thread sends the differences, and while the line is busy newer pictures replace the
ones that were not sent yet. So a key is taken at once however slow the line is, and after a stall the newest picture comes,
not the ones that were missed.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.strip import SGR_STYLES

SYNC = ("\x1b[?2026h", "\x1b[?2026l")
# Underlined, reversed, struck through, framed, overlined: attributes that a blank shows.
SEEN_ON_BLANKS = re.compile(r"(?:^|;)(?:4|7|9|21|51|52|53)(?:;|$)")
SCREEN = "\x1b[?1049"  # to the full screen or back
POINTER = (
    "\x1b]22;"  # the shape of the mouse pointer, which textual sends with every screen and few terminals know
)
MOST_STYLES = 4096  # remembered; styles that carry an action are made anew all the time
NEAR = 3  # cells that are sent again because a move of the cursor would take as many bytes

Span = tuple[int, int, int, Iterable[Segment]]
"""Row, first column, the column after the last that is taken, and what begins at the first."""


class Look(NamedTuple):
    """The parts of a style as the terminal takes them; on a blank the foreground is None: it does not matter."""

    attributes: str
    foreground: str | None
    background: str


PLAIN = Look("", "", "")


class Looks:
    """Looks of styles, made once each; equal looks are one object."""

    def __init__(self, colours: ColorSystem) -> None:
        self._colours = colours
        self._known: dict[tuple[Style | None, bool], Look] = {}
        self._all: dict[Look, Look] = {}

    def of(self, style: Style | None, blank: bool) -> Look:
        """The look of text in a style, or of blanks in it."""
        look = self._known.get((style, blank))
        if look is None:
            if len(self._known) >= MOST_STYLES:
                self._known.clear()
            made = self._make(style, blank)
            look = self._known[style, blank] = self._all.setdefault(made, made)
        return look

    def _make(self, style: Style | None, blank: bool) -> Look:
        if style is None:
            return PLAIN
        bits = style._attributes & style._set_attributes
        attributes = ";".join(code for number, code in enumerate(SGR_STYLES) if bits & (1 << number))
        fore, back = (
            ";".join(color.downgrade(self._colours).get_ansi_codes(foreground=foreground)) if color else ""
            for color, foreground in ((style.color, True), (style.bgcolor, False))
        )
        if blank and not SEEN_ON_BLANKS.search(attributes):
            return Look("", None, back)
        return Look(attributes, fore, back)


def change(old: Look, new: Look) -> tuple[str, Look]:
    """What turns one look into another, and the look the terminal then has."""
    if new.foreground is None and not SEEN_ON_BLANKS.search(old.attributes):
        new = Look(old.attributes, old.foreground, new.background)
    if old == new:
        return "", old
    if old.attributes != new.attributes:
        codes = [code for code in ("0", new.attributes, new.foreground, new.background) if code]
        return f"\x1b[{';'.join(codes)}m", Look(new.attributes, new.foreground or "", new.background)
    codes = []
    if old.foreground != new.foreground:
        codes.append(new.foreground or "39")
    if old.background != new.background:
        codes.append(new.background or "49")
    return f"\x1b[{';'.join(codes)}m", new


class Grid:
    """The cells that are wanted and those that are shown. Not safe for threads by itself."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        cells = range(height)
        self._text = [[" "] * width for _ in cells]
        self._looks = [[PLAIN] * width for _ in cells]
        self._shown_text = [[""] * width for _ in cells]  # nothing is equal to an unknown cell
        self._shown_looks = [[PLAIN] * width for _ in cells]
        self._odd: set[int] = set()  # rows whose characters are not one cell each
        self.dirty: set[int] = set()

    def put(self, spans: Iterable[Span], looks: Looks) -> None:
        """Want these cells."""
        for y, x, stop, segments in spans:
            if not 0 <= y < self.height:
                continue
            text: list[str] = []
            styles: list[Look] = []
            for piece, style, control in segments:
                if control or not piece:
                    continue
                look = looks.of(style, piece.isspace())
                if not piece.isascii() and cell_len(piece) != len(piece):
                    self._odd.add(y)
                    piece = _cells(piece)  # type: ignore[assignment]
                text += piece
                styles += [look] * len(piece)
            length = min(len(text), stop - x, self.width - x)
            if length > 0:
                self._text[y][x : x + length] = text[:length]
                self._looks[y][x : x + length] = styles[:length]
                self.dirty.add(y)

    def forget(self) -> None:
        """Nobody knows what the terminal shows."""
        self._shown_text = [[""] * self.width for _ in range(self.height)]

    def want_all(self) -> None:
        """Send everything that is wanted and not shown."""
        self.dirty.update(range(self.height))

    def difference(self) -> str:
        """What turns what is shown into what is wanted; from then on it counts as shown."""
        out: list[str] = []
        look = PLAIN
        for y in sorted(self.dirty):
            text, looks = self._text[y], self._looks[y]
            if text == self._shown_text[y] and looks == self._shown_looks[y]:
                continue
            at = -1
            for start, stop in self._spans(y):
                out.append(f"\x1b[{start - at}C" if 0 <= at < start else f"\x1b[{y + 1};{start + 1}H")
                for x in range(start, stop):
                    if looks[x] is not look:
                        codes, look = change(look, looks[x])
                        out.append(codes)
                    out.append(text[x])
                # After the last column terminals differ in where the cursor is.
                at = stop if stop < self.width else -1
            self._shown_text[y], self._shown_looks[y] = text[:], looks[:]
        self.dirty.clear()
        if look != PLAIN:
            out.append("\x1b[m")
        return "".join(out)

    def _spans(self, y: int) -> list[tuple[int, int]]:
        """Neighbouring cells of a row that differ."""
        if y in self._odd:
            # Terminals disagree about wide characters, so nothing in such a row is where it seems.
            if all(len(cell) == 1 and cell_len(cell) == 1 for cell in self._text[y]):
                self._odd.discard(y)
            return [(0, self.width)]
        cells = zip(self._text[y], self._shown_text[y], self._looks[y], self._shown_looks[y], strict=True)
        spans: list[tuple[int, int]] = []
        start = stop = -1
        for x, (new, old, look, shown) in enumerate(cells):
            if new == old and (look is shown or look == shown):
                continue
            if start < 0:
                start = x
            elif x - stop > NEAR:
                spans.append((start, stop))
                start = x
            stop = x + 1
        if start >= 0:
            spans.append((start, stop))
        return spans


def _cells(text: str) -> list[str]:
    """One string a cell: a wide character is followed by an empty one, what has no width stays with the one before."""
    cells: list[str] = []
    for char in text:
        width = cell_len(char)
        if width:
            cells += [char, *([""] * (width - 1))]
        elif cells:
            cells[-1] += char
    return cells


class Wire(threading.Thread):
    """Sends to the terminal from a thread of its own; takes the place of textual's ``WriterThread``.

    Args:
        file: The terminal.
    """

    def __init__(self, file: TextIO) -> None:
        super().__init__(daemon=True, name="finetui-output")
        self._file = file
        # Reentrant, because the handler of a signal may come in the middle of a picture.
        self._changed = threading.Condition(threading.RLock())
        self._grid: Grid | None = None
        self._looks: dict[ColorSystem, Looks] = {}
        self._ready: list[str] = []  # to be sent before the differences
        self._cursor = ""
        self._sent_cursor = ""
        self._sync = False
        self._again: tuple[int, int] | None = None  # everything is to be sent to a terminal of this size
        self._ended = False
        self._dead = False

    # What textual's driver calls

    def write(self, text: str) -> None:
        """Send text as it is: settings of the terminal, a bell, something for its clipboard."""
        if text.startswith(POINTER):
            return
        with self._changed:
            if SCREEN in text:
                # What was painted belongs to the screen that is left; the other one shows something else.
                self._ready.append(self._take())
                if self._grid is not None:
                    self._grid.forget()
            self._ready.append(text)
            self._changed.notify()

    def isatty(self) -> bool:
        """Pretend to be a terminal, as the thread that this replaces does."""
        return True

    def fileno(self) -> int:
        """Of the terminal."""
        return self._file.fileno()

    def flush(self) -> None:
        """Nothing: the thread flushes when there is nothing more to send."""

    def stop(self) -> None:
        """Send what is left and wait for it."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self.join()

    # What the application calls

    def paint(
        self,
        size: tuple[int, int],
        spans: Iterable[Span],
        colours: ColorSystem,
        cursor: tuple[int, int] = (0, 0),
        sync: bool = False,
    ) -> None:
        """Show these cells as soon as the line is free; never waits.

        Args:
            size: Columns and rows of the terminal.
            spans: The cells that may have changed.
            colours: What the terminal knows.
            cursor: Column and row where the cursor belongs.
            sync: The terminal can show a picture at once instead of as it comes.
        """
        with self._changed:
            if self._grid is None or size != (self._grid.width, self._grid.height):
                self._grid = Grid(*size)
            looks = self._looks.get(colours) or self._looks.setdefault(colours, Looks(colours))
            self._grid.put(spans, looks)
            self._cursor = f"\x1b[{cursor[1] + 1};{cursor[0] + 1}H"
            self._sync = sync
            self._changed.notify()

    def forget(self) -> None:
        """Somebody else may have written to the terminal: send everything again with the next picture."""
        with self._changed:
            if self._grid is not None:
                self._grid.forget()

    def repaint(self, size: tuple[int, int]) -> None:
        """Send the whole picture again, unless it is of another size anyway. May be called by the handler of a signal."""
        with self._changed:
            self._again = size
            self._changed.notify()

    # The thread

    def run(self) -> None:
        while True:
            with self._changed:
                while not (self._ready or self._ended or self._again or self._pending()):
                    self._changed.wait()
                if self._again:
                    self._start_anew(self._again)
                text = "".join((*self._ready, self._take()))
                self._ready = []
                ended = self._ended
            if text and not self._dead:
                self._send(text)
            if ended:
                return

    def _pending(self) -> bool:
        return self._grid is not None and bool(self._grid.dirty)

    def _start_anew(self, size: tuple[int, int]) -> None:
        self._again = None
        if self._grid is not None and (self._grid.width, self._grid.height) == size:
            self._grid.forget()
            self._grid.want_all()

    def _take(self) -> str:
        """The differences as they are now."""
        difference = self._grid.difference() if self._grid is not None and self._grid.dirty else ""
        if not difference:
            if self._cursor == self._sent_cursor:
                return ""
            self._sent_cursor = self._cursor
            return self._cursor
        self._sent_cursor = self._cursor
        before, after = SYNC if self._sync else ("", "")
        return f"{before}{difference}{self._cursor}{after}"

    def _send(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except UnicodeEncodeError:
            plain = text.encode(self._file.encoding, "replace").decode(self._file.encoding)
            self._send(plain)
        except (OSError, ValueError):
            # The terminal is gone. The guard ends the viewer; until then nobody must wait for a dead line.
            self._dead = True
            with contextlib.suppress(OSError, ValueError):
                self._file.flush()


def spans_of_chops(
    chops: Sequence[dict[int, Iterable[Segment] | None]],
    spans: Iterable[tuple[int, int, int]],
    ends: Sequence[Sequence[int]],
) -> Iterable[Span]:
    """The parts of rows that textual's compositor wants painted."""
    for y, x1, x2 in spans:
        for end, (x, strip) in zip(ends[y], chops[y].items(), strict=False):
            if strip is not None and x < x2 and end > x1:
                yield y, x, min(end, x2), strip
