"""What fits here: the grid, its longest texts, and how quick it is to ask again."""

from __future__ import annotations

import pytest

from engine.fit import grid
from engine.fit.cards import find_card
from engine.fit.decide import METHODS, longest_that_fits, verdict
from engine.fit.predict import predict
from engine.fit.setup import architecture_of
from engine.models import catalogue

GIB = 2**30
CARD = find_card("RTX 4090")
FREE = 23 * GIB


def test_every_size_stands_for_a_known_model_of_that_size() -> None:
    for size in grid.SIZES:
        model = catalogue.find(size.model)
        assert model is not None
        assert abs(model.params_b - size.billions) / size.billions < 0.3
        assert model.variant == "instruct"
        assert not architecture_of(size.model).unsure


def test_a_cell_is_the_prediction_of_that_run() -> None:
    table = grid.what_fits(FREE, CARD, sizes=grid.SIZES[2:4])
    for row in table.rows:
        architecture = architecture_of(row.size.model)
        assert [cell.method for cell in row.cells] == list(METHODS)
        for cell in row.cells:
            setup = grid.setup_of_cell(architecture, cell.method, CARD, grid.LENGTH)
            assert (setup.batch, setup.eval_batch, setup.seq_len) == (1, 1, 2048)
            assert setup.gradient_checkpointing
            found = predict(architecture, setup, card=CARD)
            assert (cell.p50, cell.p95) == (found.smi.p50, found.smi.p95)
            assert cell.verdict == verdict(found, FREE)


def test_needs_grow_with_the_size_and_shrink_with_the_bits() -> None:
    rows = grid.what_fits(FREE, CARD).rows
    for method in range(len(METHODS)):
        needs = [row.cells[method].p95 for row in rows]
        assert needs == sorted(needs)
    for row in rows:
        need = {cell.method: cell.p95 for cell in row.cells}
        assert need[grid.QLORA] < need[grid.LORA] < need[grid.FULL]


@pytest.mark.parametrize(("name", "free"), [("RTX 4090", 23), ("RTX 3060", 11), ("T4", 14)])
def test_the_longest_text_fits_and_is_what_the_verb_says(name: str, free: int) -> None:
    card = find_card(name)
    for row in grid.what_fits(free * GIB, card).rows:
        architecture = architecture_of(row.size.model)
        method = row.best or grid.QLORA
        if row.best:
            assert row.longest >= grid.LENGTH
        if row.longest:
            assert grid.cell(architecture, method, free * GIB, card, row.longest).verdict == "fits"
        setup = grid.setup_of_cell(architecture, method, card, 512)
        assert longest_that_fits(architecture, setup, free * GIB, card) == row.longest


def test_other_lengths_change_the_verdicts() -> None:
    short, long = (grid.what_fits(FREE, CARD, length) for length in (512, 32_768))

    def fitting(table: grid.Grid) -> int:
        return sum(cell.verdict == "fits" for row in table.rows for cell in row.cells)

    assert fitting(short) > fitting(long)
    assert (short.length, long.length) == (512, 32_768)


def test_a_text_is_never_longer_than_the_model_reads() -> None:
    llama2 = architecture_of("meta-llama/Llama-2-7b-chat-hf")
    assert grid.setup_of_cell(llama2, grid.QLORA, CARD, 32_768).seq_len == 4096
    assert grid.longest(llama2, grid.QLORA, 400 * GIB, CARD) == 4096


def test_old_cards_compute_in_float16() -> None:
    llama = architecture_of(grid.SIZES[0].model)
    assert grid.setup_of_cell(llama, grid.LORA, find_card("T4"), 512).dtype == "float16"
    assert grid.setup_of_cell(llama, grid.LORA, CARD, 512).dtype == "bfloat16"


def test_nothing_fits_into_nothing() -> None:
    for row in grid.what_fits(GIB // 4, None, sizes=grid.SIZES[:1]).rows:
        assert row.best is None
        assert row.longest == 0
        assert {cell.verdict for cell in row.cells} == {"no"}


def test_the_best_cell_prefers_what_fits_then_what_is_tight() -> None:
    qwen = architecture_of("Qwen/Qwen3-8B")
    assert grid.best_cell(qwen, 40 * GIB, CARD).method == grid.LORA
    assert grid.best_cell(qwen, 12 * GIB, CARD).method == grid.QLORA
    nothing = grid.best_cell(qwen, GIB, CARD)
    assert (nothing.method, nothing.verdict) == (grid.QLORA, "no")
