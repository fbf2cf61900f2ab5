"""Plain characters in place of drawn ones, for terminals whose font or encoding lacks them."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.plot.glyphs import Charset

# The Linux console's font has the line-drawing characters of the IBM PC but few others.
CONSOLE = {
    "✓": "√", "✗": "x", "●": "•", "○": "o", "▸": ">", "→": ">", "←": "<", "↑": "^", "↓": "v", "⏎": "¶",
    "…": ".", "—": "-", "–": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "╭": "┌", "╮": "┐", "╰": "└", "╯": "┘",
    "★": "*",
}  # fmt: skip
ASCII = {
    **CONSOLE,
    "⏎": "$",
    "‖": "|",
    "✓": "+", "●": "*", "·": "-", "•": "*", "─": "-", "━": "-", "═": "=", "│": "|", "┃": "|", "┊": ":", "▲": "^",
    "┌": "+", "┐": "+", "└": "+", "┘": "+", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "├": "+", "┤": "+", "┬": "+",
    "┴": "+", "┼": "+", "█": "#", "▓": "#", "▒": ":", "░": ".", "▁": "_", "▂": "_", "▃": "_", "▄": "_", "▅": "=",
    "▆": "=", "▇": "#", "▌": "|", "▐": "|", "▀": "=", "×": "x", "°": "'", "√": "+", "¶": "$", "€": "E", "≤": "<",
    "≥": ">", "≈": "~", "\u00a0": " ", "▙": "&", "▚": "%", "╱": "/", "╳": "x", "╋": "+", "┄": "-", "┅": "=", "╌": "-",
}  # fmt: skip


class PlainGlyphs(LineFilter):
    """Replaces what the terminal cannot draw, cell for cell, so that columns stay where they are.

    One filter over everything that is painted means that no screen has to know about it.
    """

    def __init__(self, charset: Charset) -> None:
        super().__init__(enabled=charset != "braille")
        self._ascii = charset == "ascii"
        self._table = str.maketrans(ASCII if self._ascii else CONSOLE)
        self._seen: dict[str, str] = {}

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(self.plain(text), style, control) for text, style, control in segments]

    def plain(self, text: str) -> str:
        """The text in characters the terminal has, as wide as before."""
        if text.isascii():
            return text
        done = self._seen.get(text)
        if done is None:
            if len(self._seen) > 4096:
                self._seen.clear()
            done = text.translate(self._table)
            if self._ascii and not done.isascii():
                done = "".join(char if char.isascii() else "?" * cell_len(char) for char in done)
            self._seen[text] = done
        return done
