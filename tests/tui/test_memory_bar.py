"""The memory bar: every part in it, everything in its width, readable without colours and in ASCII."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from engine.fit import grid
from engine.fit.cards import find_card
from engine.fit.setup import architecture_of
from engine.fit.types import Part, Phase, Prediction, Range
from tui.plot.glyphs import Charset
from tui.widgets.memory_bar import CONTEXT, FILLS, GROUPS, ORDER, RESERVE, MemoryBar, memory_bar, parts_of
from tui.widgets.rows import Row

GIB = 2**30
CARD = find_card("RTX 4090")
CHARSETS: tuple[Charset, ...] = ("braille", "block", "ascii")


def predicted(model: str = "Qwen/Qwen3-8B", method: str = grid.LORA, length: int = 2048) -> Prediction:
    return grid.need(architecture_of(model), method, CARD, length)


def made_up(parts: dict[str, int], reserve: int = 0, context: int = 0, high: float = 1.1) -> Prediction:
    phase = Phase("backward", tuple(Part(name, size) for name, size in parts.items()))
    reserved = phase.bytes + reserve
    smi = reserved + context
    return Prediction(
        Range(phase.bytes, phase.bytes), Range(reserved, reserved), Range(smi, int(smi * high)), (phase,), 0, "arithmetic", "x"
    )  # fmt: skip


def texts(rows: tuple[Row, ...]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


@pytest.mark.parametrize("method", [grid.QLORA, grid.LORA_8BIT, grid.LORA, grid.FULL])
def test_the_parts_add_up_to_what_is_expected(method: str) -> None:
    prediction = predicted(method=method)
    parts = dict(parts_of(prediction))
    assert sum(parts.values()) == prediction.smi.p50
    assert "model" in parts
    assert "activations" in parts
    assert list(parts) == [name for name in ORDER if name in parts]


def test_the_names_of_the_groups_all_have_a_place_and_a_character_of_their_own() -> None:
    assert {*GROUPS.values(), "activations", "evaluation", RESERVE, CONTEXT} <= set(ORDER)
    for fills in FILLS.values():
        assert len(set(fills.values())) == len(ORDER)
    assert all(char.isascii() for char in FILLS["ascii"].values())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("glyphs", CHARSETS)
def test_every_part_is_named_with_its_size(width: int, glyphs: Charset) -> None:
    prediction = predicted(method=grid.FULL, model=grid.SIZES[0].model)
    lines = texts(memory_bar(prediction, 23 * GIB, width, glyphs))
    assert all(len(line) <= width for line in lines)
    legend = " ".join(lines)
    for name, size in parts_of(prediction):
        amount = f"{size / GIB:.1f}" if size >= 0.05 * GIB else "<0.1"
        assert f"{FILLS[glyphs][name]} {name} {amount}" in legend
    assert "23.0 GiB free" in legend
    assert (
        f"{prediction.smi.p50 / GIB:.1f} GiB expected, {prediction.smi.p95 / GIB:.1f} GiB at most" in legend
    )
    if glyphs == "ascii":
        assert legend.isascii()


def test_lengths_are_in_proportion_and_the_line_is_where_the_free_memory_ends() -> None:
    prediction = made_up({"weights": 8 * GIB, "gradients": 4 * GIB}, high=1.25)
    bar, labels, *_ = texts(memory_bar(prediction, 24 * GIB, 97, "ascii"))
    assert bar.count("M") == 32
    assert bar.count("g") == 16
    assert bar.count("?") == 12
    assert bar.index("|") == 96
    assert labels[96] == "^"


def test_what_does_not_fit_crosses_the_line() -> None:
    bar = texts(memory_bar(predicted(method=grid.FULL), 23 * GIB, 80, "ascii"))[0]
    assert bar.index("|") < len(bar.rstrip()) / 2
    styles = {
        style
        for text, style in memory_bar(predicted(method=grid.FULL), 23 * GIB, 80, "ascii")[0]
        if "?" in text
    }
    assert styles == {"$error"}


def test_it_moves_with_a_setting() -> None:
    short, long = (
        texts(memory_bar(predicted(length=length), 23 * GIB, 80, "ascii"))[0] for length in (512, 8192)
    )
    assert long.count("A") > short.count("A") + 5
    assert long.count("M") == short.count("M")


def test_evaluation_is_named_where_it_decides() -> None:
    phase = Phase(
        "evaluation",
        (Part("weights", GIB), Part("logits gathered by the evaluation", GIB), Part("attention", GIB)),
    )
    prediction = Prediction(Range(3 * GIB, 3 * GIB), Range(3 * GIB, 3 * GIB), Range(3 * GIB, 3 * GIB), (phase,), 0, "arithmetic", "x")  # fmt: skip
    assert parts_of(prediction) == (("model", GIB), ("evaluation", 2 * GIB))


def test_a_tiny_model_is_measured_in_mib() -> None:
    lines = texts(memory_bar(made_up({"weights": 20 << 20, "gradients": 1000}), 23 * GIB, 80, "ascii"))
    assert "M model 20" in lines[-1]
    assert "g gradients <1 MiB" in lines[-1]


@given(
    st.dictionaries(st.sampled_from([*GROUPS, "something new"]), st.integers(0, 2000 * GIB), max_size=6),
    st.integers(0, 80 * GIB),
    st.integers(0, 4000 * GIB),
    st.integers(24, 200),
    st.sampled_from(CHARSETS),
)
def test_any_prediction_fits_into_any_width(
    parts: dict[str, int], reserve: int, free: int, width: int, glyphs: Charset
) -> None:
    rows = texts(memory_bar(made_up(parts, reserve), free, width, glyphs))
    assert len(rows[0]) == width
    assert all(len(row) <= max(width, 50) for row in rows)


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield MemoryBar()


async def test_the_widget_is_as_high_as_it_must_be_and_goes_away() -> None:
    app = Shown()
    async with app.run_test(size=(80, 24)) as pilot:
        bar = app.query_one(MemoryBar)
        assert bar.size.height == 0
        bar.show(predicted(), 23 * GIB)
        await pilot.pause()
        assert bar.size.height >= 4
        assert "model 15.3" in bar.text
        await pilot.resize_terminal(60, 24)
        await pilot.pause()
        assert all(len(line) <= 60 for line in bar.text.splitlines())
        bar.show(None, 0)
        await pilot.pause()
        assert bar.size.height == 0


def test_styles_of_a_screen_do_not_reach_the_bars_of_others() -> None:
    sheets = (Path(__file__).parents[2] / "tui" / "screens").glob("*.tcss")
    for line in (line for sheet in sheets for line in sheet.read_text().splitlines()):
        assert not line.startswith("#"), "textual keeps a screen's styles for all screens once it was open"
