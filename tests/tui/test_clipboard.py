"""Copying: what the terminal is told, and the file."""

from __future__ import annotations

import base64

from tui.clipboard import MOST, sequences

TEXT = "/runs/owl-1"
PLAIN = f"\x1b]52;c;{base64.b64encode(TEXT.encode()).decode()}\x07"


def test_inside_tmux_and_screen_the_outer_terminal_hears_it() -> None:
    assert sequences(TEXT, {}) == [PLAIN]
    plain, wrapped = sequences(TEXT, {"TMUX": "/tmp/tmux-0/default,1,0"})
    assert plain == PLAIN
    assert wrapped.startswith("\x1bPtmux;\x1b\x1b]52;")
    assert wrapped.endswith("\x07\x1b\\")
    pieces = sequences("x" * 2000, {"STY": "1.pts"})
    assert all(len(piece) <= 768 for piece in pieces)
    inner = "".join(piece[2:-2] for piece in pieces)
    assert base64.b64decode(inner[7:-1]) == b"x" * 2000


def test_what_is_too_long_for_a_terminal_is_only_in_the_file() -> None:
    assert sequences("x" * (MOST + 1), {}) == []
