"""The line that explains the glyphs."""

from __future__ import annotations

import math

import pytest

from tests.tui.plot.curves import diverged, memory, series, training
from tui.plot import Charset, ChartData, Line, Row, legend, mark_legend


def words(row: Row) -> str:
    return "".join(run.text for run in row)


@pytest.mark.parametrize(
    ("charset", "expected", "marks"),
    [
        ("braille", "loss  ── train  ● eval", "★ best  ▲ checkpoint"),
        ("block", "loss  ▄▄ train  • eval", "♦ best  ▲ checkpoint"),
        ("ascii", "loss  -- train  o eval", "* best  ^ checkpoint"),
    ],
)
def test_legend_of_a_training(charset: Charset, expected: str, marks: str) -> None:
    assert words(legend(training(), charset)) == expected
    assert words(mark_legend(training(), charset)) == marks


def test_each_key_has_the_role_of_its_curve() -> None:
    row = legend(memory(), "braille")
    assert words(row) == "GPU memory, GiB  ── used  ╌╌ reserved"
    assert [(run.text.strip(), run.role) for run in row][1::2] == [("──", "used"), ("╌╌", "reserved")]


def test_values_that_are_no_numbers_are_explained() -> None:
    assert words(mark_legend(diverged(), "ascii")) == "! change  x not a number"


def test_a_single_curve_named_like_the_chart_needs_no_key() -> None:
    data = ChartData("learning rate", lines=(Line(series("learning rate", (1, 1.0))),))
    assert words(legend(data, "braille")) == "learning rate"
    assert legend(ChartData(), "braille") == ()
    assert mark_legend(data, "braille") == ()


def test_hostile_names_are_shown_harmless() -> None:
    data = ChartData("loss", lines=(Line(series("\x1b]0;owned\x07", (1, math.nan))),))
    assert "\x1b" not in words(legend(data, "braille"))
    data = ChartData("損失", lines=(Line(series("[bold]模型[/]", (1, 1.0))),))
    assert words(legend(data, "braille")) == "損失  ── [bold]模型[/]"
    assert words(legend(data, "ascii")).isascii()
