"""Building text for the screens. Nothing here reads markup, so foreign text cannot style or break anything."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len
from textual.content import Content


def hanging(mark: str, style: str, text: str, width: int, text_style: str = "") -> Content:
    """A sentence behind a mark, its further lines indented to the same column."""
    indent = " " * (len(mark) + 1)
    lines = textwrap.wrap(text, max(20, width - len(indent)), break_on_hyphens=False) or [""]
    return Content.assemble((mark, style), " ", (f"\n{indent}".join(lines), text_style))


def pad(text: str, width: int) -> str:
    """The text with blanks up to that many cells, so that columns stay where they are whatever it is made of."""
    return text + " " * max(0, width - cell_len(text))


def stack(*lines: Content | str) -> Content:
    """Lines below each other."""
    return Content("\n").join(Content(line) if isinstance(line, str) else line for line in lines)
