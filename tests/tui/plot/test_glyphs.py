"""Which characters a terminal is trusted with."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.plot.glyphs import GLYPHS, charset, single_width


@pytest.mark.parametrize(
    ("environ", "encoding", "expected"),
    [
        ({"TERM": "xterm-256color"}, "UTF-8", "braille"),
        ({"TERM": "xterm"}, "utf8", "braille"),
        ({}, "UTF-8", "braille"),
        ({"TERM": "xterm"}, "ISO-8859-1", "ascii"),
        ({"TERM": "xterm"}, "ANSI_X3.4-1968", "ascii"),
        ({"TERM": "dumb"}, "UTF-8", "ascii"),
        ({"TERM": "linux"}, "UTF-8", "block"),
        ({"TERM": "linux"}, "ISO-8859-15", "ascii"),
        ({"TERM": "dumb", "FINETUI_CHARSET": "Braille"}, "ascii", "braille"),
        ({"TERM": "xterm", "FINETUI_CHARSET": "block"}, "UTF-8", "block"),
        ({"TERM": "xterm", "FINETUI_CHARSET": "nonsense"}, "UTF-8", "braille"),
    ],
)
def test_charset(environ: dict[str, str], encoding: str, expected: str) -> None:
    assert charset(environ, encoding) == expected


def test_charset_reads_this_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CHARSET", "block")
    assert charset() == "block"


@pytest.mark.parametrize("name", GLYPHS)
def test_every_glyph_takes_one_cell(name: str) -> None:
    glyphs = GLYPHS[name]  # type: ignore[index]
    drawn = [glyphs.line, glyphs.bar, glyphs.points, glyphs.limit, glyphs.rule, glyphs.key, glyphs.key_dotted]
    text = "".join([*drawn, *glyphs.marks.values()])
    assert single_width(text, name) == text  # type: ignore[arg-type]
    told_apart = [*glyphs.points, *(glyphs.marks[kind] for kind in ("best", "checkpoint", "change", "bad"))]
    assert len(set(told_apart)) == len(told_apart)
    assert not set(told_apart) & {*glyphs.line, glyphs.bar, glyphs.limit}
    assert name != "ascii" or text.isascii()


@pytest.mark.parametrize(
    ("text", "shown", "ascii_shown"),
    [
        ("card limit", "card limit", "card limit"),
        ("größe", "größe", "gr??e"),
        ("模型", "??", "??"),
        ("a\u0301b\u200bc\x1b[31m", "abc[31m", "abc[31m"),
        ("🚀 go", "? go", "? go"),
        ("\u202eשלום", "????", "????"),
    ],
)
def test_foreign_text_never_shifts_a_column(text: str, shown: str, ascii_shown: str) -> None:
    assert single_width(text, "braille") == shown
    assert single_width(text, "ascii") == ascii_shown


@given(st.text())
def test_only_single_width_characters_remain(text: str) -> None:
    for char in single_width(text, "block"):
        assert unicodedata.east_asian_width(char) not in "WF"
        assert unicodedata.category(char)[0] not in "MC"
    assert single_width(text, "ascii").isascii()
