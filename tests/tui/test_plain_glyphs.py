"""Terminals without the drawn characters."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

import tui
from tui.plain_glyphs import ASCII, PlainGlyphs


@given(st.text())
def test_ascii_is_ascii_and_as_wide(text: str) -> None:
    plain = PlainGlyphs("ascii").plain(text)
    assert plain.isascii()
    assert cell_len(plain) == cell_len(text)


def test_every_glyph_of_the_screens_has_a_plain_twin() -> None:
    root = Path(tui.__path__[0])
    sources = [*root.glob("*.py"), *root.glob("screens/*.py"), *root.glob("widgets/*.py")]
    used = set(re.findall(r"[^\x00-\x7f]", "".join(path.read_text("utf-8") for path in sources)))
    assert not {glyph for glyph in used if glyph not in ASCII and not 0x2800 <= ord(glyph) < 0x2900}


def test_a_good_terminal_is_left_alone() -> None:
    assert not PlainGlyphs("braille").enabled
    assert PlainGlyphs("block").plain("✓ Köln ● 日本") == "√ Köln • 日本"
