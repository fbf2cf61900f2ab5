"""The suggestion, and its agreement with the guides' table."""

from __future__ import annotations

import pytest

from engine.advise import fits
from engine.advise.fits import (
    GB,
    SHORT_TEXT,
    compare_with_table,
    needed_gb,
    recommend_model,
    table_difference,
)
from engine.advise.goals import GOALS
from engine.fit import grid
from engine.fit.architecture import from_size
from engine.fit.cards import Card, find_card, known_cards
from engine.fit.setup import architecture_of
from engine.fit.types import Architecture
from engine.models import catalogue

GIB = 2**30
CARD = find_card("RTX 4090")
# A well-known dense text model for each size of the guides' table; sizes without one are made to measure.
OF_SIZE = {
    3: "HuggingFaceTB/SmolLM3-3B",
    7: "Qwen/Qwen2.5-7B-Instruct",
    8: "meta-llama/Llama-3.1-8B-Instruct",
    9: "google/gemma-2-9b-it",
    14: "Qwen/Qwen2.5-14B-Instruct",
    27: "google/gemma-2-27b-it",
    32: "Qwen/Qwen2.5-32B-Instruct",
    70: "meta-llama/Llama-3.3-70B-Instruct",
    405: "meta-llama/Llama-3.1-405B-Instruct",
}


def model_of(params_b: float) -> Architecture:
    known = OF_SIZE.get(int(params_b))
    return architecture_of(known) if known else from_size(params_b, f"a model of {params_b:g} B")


def test_the_table_is_as_published() -> None:
    rows = dict(fits.table())
    assert len(rows) == 13
    assert rows[8] == {"qlora_4bit": 6, "lora_16bit": 22}
    assert rows[405] == {"qlora_4bit": 237, "lora_16bit": 950}


@pytest.mark.parametrize(
    ("params_b", "gb", "kind"),
    [(8.0, 6.0, "table"), (7.5, 5.5, "interpolated"), (1.0, 3.5, "at most"), (405.0, 237.0, "table")],
)
def test_needs_between_the_rows(params_b: float, gb: float, kind: str) -> None:
    need = needed_gb(params_b, "qlora_4bit")
    assert need is not None
    assert (need.gb, need.kind) == (gb, kind)


def test_the_table_is_silent_above_its_largest_row() -> None:
    assert needed_gb(500.0, "qlora_4bit") is None
    assert table_difference(architecture_of("Qwen/Qwen3-8B"), "full", 24 * GIB, CARD) == ""
    assert table_difference(architecture_of("Qwen/Qwen3-0.6B"), grid.QLORA, 1 * GIB, CARD) == ""


def sizes_of_cards() -> list[Card]:
    """One card of every memory size."""
    return list({card.usable // GIB: card for card in known_cards()}.values())


def check_rows(cards: list[Card]) -> None:
    """Where both speak they agree, or a sentence with both numbers says why not."""
    for card in cards:
        for params_b, _ in fits.table():
            architecture = model_of(params_b)
            for method, column in fits.COLUMNS.items():
                need = needed_gb(architecture.params / 1e9, column)
                words = table_difference(architecture, method, card.usable, card)
                if need is None:
                    assert words == ""
                    continue
                found = grid.cell(architecture, method, card.usable, card)
                agree = (need.gb * GB <= card.usable) == (found.verdict == "fits")
                assert agree == (words == ""), (card.name, params_b, method, words)
                if words:
                    assert f"{need.gb:.3g} GB" in words
                    assert f"{card.usable / GB:.3g} GB are free" in words
                    assert words.count(". ") == 0
                    assert words.endswith(".")
                    if "it counts short texts" in words:
                        short = grid.need(architecture, method, card, SHORT_TEXT)
                        assert short.smi.p95 <= need.gb * GB < found.p95


def test_every_row_of_the_table_agrees_or_is_explained() -> None:
    by_size = sorted(sizes_of_cards(), key=lambda card: card.usable)
    check_rows(by_size[::4])


@pytest.mark.thorough
def test_every_row_of_the_table_on_every_card() -> None:
    check_rows(list(known_cards()))


def test_the_table_is_a_minimum_that_most_predictions_respect() -> None:
    """A prediction far off the table at short texts would be a mistake on one of the two sides."""
    for params_b, model_id in OF_SIZE.items():
        architecture = architecture_of(model_id)
        for method, column in fits.COLUMNS.items():
            need = needed_gb(architecture.params / 1e9, column)
            if need is not None:
                short = grid.need(architecture, method, None, SHORT_TEXT).smi.p50
                assert 0.7 * need.gb * GB < short < 1.4 * need.gb * GB, (params_b, method)


@pytest.mark.parametrize("name", ["RTX 3050 Laptop", "RTX 4060", "RTX 3080", "RTX 3060", "T4", "L4", "RTX 4090", "RTX 5090",
                                  "A100 40GB", "A100 80GB", "H200"])  # fmt: skip
@pytest.mark.parametrize("goal", ["task", "knowledge"])
def test_a_suggestion_agrees_with_the_table_or_says_why_not(name: str, goal: str) -> None:
    card = find_card(name)
    assert card is not None
    choice = recommend_model(card.usable, card, None, goal)
    best = choice.value
    words = compare_with_table(choice, card.usable, card, goal)
    need = needed_gb(best.params_b, fits.COLUMNS[best.method])
    assert need is not None
    if need.kind != "at most" and need.gb * GB > card.usable:
        assert words
    if not words:
        theirs = fits._by_table(card.usable, goal)
        assert theirs is None or catalogue.find(theirs[0]).params_b <= best.params_b  # type: ignore[union-attr]


def test_why_a_small_card_takes_less_than_the_table_says() -> None:
    card = find_card("RTX 4060")
    assert card is not None
    choice = recommend_model(card.usable, card)
    words = compare_with_table(choice, card.usable, card)
    assert words.startswith("The guides' table says 6.1 GB for the size of Qwen3-8B with QLoRA 4-bit")
    assert "2,048 tokens need up to" in words


def test_ladder_models_are_open_text_models_with_a_template() -> None:
    for model_id in {*fits.LADDER, *fits.CPU_LADDER, fits.SMALLEST}:
        model = catalogue.find(model_id)
        assert model is not None
        assert not model.gated
        assert model.template
        assert (model.variant, model.tuned, model.active_params) == ("instruct", True, None)
    sizes = [catalogue.find(model_id).params for model_id in fits.LADDER]  # type: ignore[union-attr]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("name", "goal", "model_id", "method"),
    [
        ("RTX 4060", "task", "Qwen/Qwen3-4B-Instruct-2507", grid.QLORA),
        ("RTX 3060", "style", "Qwen/Qwen3-8B", grid.QLORA),
        ("RTX 4090", "task", "Qwen/Qwen3-8B", grid.LORA),
        ("RTX 4090", "knowledge", "Qwen/Qwen3-14B", grid.QLORA),
        ("A100 80GB", "reasoning", "Qwen/Qwen3-14B", grid.LORA),
    ],
)
def test_recommendations(name: str, goal: str, model_id: str, method: str) -> None:
    card = find_card(name)
    assert card is not None
    choice = recommend_model(card.usable, card, 412, goal)
    assert (choice.value.model_id, choice.value.method) == (model_id, method)
    assert f"of {card.usable / GIB:.1f} GiB" in choice.reason
    assert "412 rows" in choice.reason
    assert choice.value not in choice.alternatives


def test_every_recommendation_fits_leaves_room_and_has_a_reason() -> None:
    for free_gib in (2, 3, 6, 10, 24, 80, 192):
        free = free_gib * GIB
        for goal in [goal.id for goal in GOALS] + ["something else"]:
            choice = recommend_model(free, CARD, None, goal)
            options = (choice.value, *choice.alternatives)
            assert all(option.verdict == "fits" and option.p95 and option.p95 <= free for option in options)
            assert len({option.model_id for option in options}) == len(options)
            assert choice.reason.endswith(".")
            longer = grid.cell(
                architecture_of(choice.value.model_id), grid.QLORA, free, CARD, 2 * grid.LENGTH
            )
            assert longer.verdict == "fits"


def test_a_card_that_is_too_small_for_all_is_told_so() -> None:
    choice = recommend_model(GIB // 2, None)
    assert choice.value.model_id == fits.SMALLEST
    assert choice.value.verdict == "no"
    assert "may not fit either" in choice.reason


def test_without_a_gpu_a_tiny_model_and_the_demo() -> None:
    choice = recommend_model(None, None, 100, "style")
    assert choice.value.params_b < 0.2
    assert choice.value.p95 is None
    assert "demo" in choice.reason
    assert "16-bit" not in choice.value.label
