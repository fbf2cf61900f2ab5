"""One-line curves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tui.plot.curves import diverged, loss, series
from tui.plot import Charset, Series, sparkline
from tui.plot.glyphs import single_width

FALLING = loss(400)
BROKEN = diverged().lines[0].series
TWO = series("two", (1, 2.0), (2, 1.0))


@pytest.mark.parametrize(
    ("charset", "falling", "broken", "two"),
    [
        ("braille", "⣷⣦⣤⣤⣀⣀⣀⣀⣀⣀⣀⣀", "⣀⣀⣀⣀⣀⣀⣀⣀⣤⣾✗✗", "⣿⣿⣿⣿⣿⣿⣀⣀⣀⣀⣀⣀"),
        ("block", "█▄▄_________", "________▄█xx", "██████______"),
        ("ascii", "'-..________", "________.'xx", "''''''______"),
    ],
)
def test_sparklines(charset: Charset, falling: str, broken: str, two: str) -> None:
    assert sparkline(FALLING, 12, charset) == falling
    assert sparkline(BROKEN, 12, charset) == broken
    assert sparkline(TWO, 12, charset) == two


@given(
    st.lists(st.floats(), max_size=60), st.integers(-1, 40), st.sampled_from(["braille", "block", "ascii"])
)
def test_width_is_exact(values: list[float], width: int, charset: Charset) -> None:
    made = Series("y", 8)
    for x, y in enumerate(values):
        made.append(x, y)
    line = sparkline(made, width, charset)
    assert len(line) == max(0, width)
    assert single_width(line, charset) == line


def test_constant_and_nothing() -> None:
    assert sparkline(series("y", (1, 5.0), (2, 5.0)), 4) == "⣀⣀⣀⣀"
    assert sparkline(series("y", (1, math.nan)), 4, "ascii") == "xxxx"
    assert sparkline(Series("y"), 4) == "    "
