"""The memory table and the recommendations made from it."""

from __future__ import annotations

import itertools

import pytest

from engine.advise import fits
from engine.advise.fits import GB, Verdict, needed_gb, recommend_model, what_fits
from engine.advise.goals import GOALS
from engine.models import catalogue

GIB = 2**30


def test_the_table_is_the_published_one() -> None:
    table = fits.table()
    assert len(table) == 13
    assert table[0] == (3.0, {"qlora_4bit": 3.5, "lora_16bit": 8.0})
    assert dict(table)[70.0] == {"qlora_4bit": 41.0, "lora_16bit": 164.0}
    assert table[-1][0] == 405.0
    for (low, low_gb), (high, high_gb) in itertools.pairwise(table):
        assert low < high
        assert all(low_gb[method] < high_gb[method] for method in fits.METHODS)


def test_rows_between_the_table_are_interpolated_and_say_so() -> None:
    exact, between = needed_gb(8, "qlora_4bit"), needed_gb(7.5, "qlora_4bit")
    assert exact == fits.Need(6.0, "table")
    assert between == fits.Need(5.5, "interpolated")
    assert needed_gb(20.5, "lora_16bit") == fits.Need(48.5, "interpolated")
    assert needed_gb(0.1, "lora_16bit") == fits.Need(8.0, "at most")
    assert needed_gb(405, "qlora_4bit") == fits.Need(237.0, "table")
    assert needed_gb(405.1, "qlora_4bit") is None


def test_gb_and_gib_are_not_confused() -> None:
    # 19 GB are 17.7 GiB: a card with 18 GiB free holds it, one with 19e9 - 1 bytes does not.
    assert fits.verdict(19, 18 * GIB) is not Verdict.NO
    assert fits.verdict(19, int(19 * GB) - 1) is Verdict.NO
    assert fits.verdict(19, int(19 * GB)) is Verdict.TIGHT


def test_tight_is_above_90_percent_of_what_is_free() -> None:
    assert fits.verdict(9.0, int(10 * GB)) is Verdict.FITS
    assert fits.verdict(9.01, int(10 * GB)) is Verdict.TIGHT
    assert fits.verdict(10.01, int(10 * GB)) is Verdict.NO
    assert fits.verdict(0.1, None) is Verdict.NO


def test_what_fits_a_24_gb_card() -> None:
    rows = {(row.params_b, row.method): row for row in what_fits(24 * GIB)}
    assert len(rows) == 26
    assert rows[8, "lora_16bit"].verdict is Verdict.FITS  # 22 of 25.8 GB
    assert rows[9, "lora_16bit"].verdict is Verdict.TIGHT
    assert rows[11, "lora_16bit"].verdict is Verdict.NO
    assert rows[27, "qlora_4bit"].verdict is Verdict.FITS
    assert rows[32, "qlora_4bit"].verdict is Verdict.NO
    assert not any(row.interpolated for row in rows.values())


def test_own_sizes_are_marked_as_interpolated() -> None:
    rows = what_fits(24 * GIB, (1.2, 8.0, 24.0, 1000.0))
    assert [(row.params_b, row.interpolated) for row in rows[::2]] == [
        (1.2, False),
        (8.0, False),
        (24.0, True),
    ]


def test_words_above_the_table() -> None:
    assert "No usable GPU" in fits.describe_fit(None)
    assert "demo" in fits.describe_fit(0)
    assert "2.0 GiB (2.1 GB) free: less than the 3.5 GB" in fits.describe_fit(2 * GIB)
    assert "up to 14 B fit with QLoRA (4-bit), up to 3 B with LoRA (16-bit)" in fits.describe_fit(12 * GIB)
    assert "none of the table's sizes" in fits.describe_fit(4 * GIB)


def test_ladder_models_are_open_text_models_with_a_template() -> None:
    for model_id in {*fits.LADDER, *fits.CPU_LADDER, *fits.SMALL_CARD_LADDER}:
        model = catalogue.find(model_id)
        assert model is not None
        assert not model.gated
        assert model.template
        assert (model.variant, model.tuned, model.active_params) == ("instruct", True, None)
    sizes = [catalogue.find(model_id).params for model_id in fits.LADDER]  # type: ignore[union-attr]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("free_gib", "goal", "model_id", "in_4bit"),
    [
        (4, "task", "Qwen/Qwen3-1.7B", True),
        (8, "task", "Qwen/Qwen3-4B-Instruct-2507", True),
        (12, "style", "Qwen/Qwen3-8B", True),
        (22.9, "task", "Qwen/Qwen3-8B", True),
        (22.9, "knowledge", "Qwen/Qwen3-14B", True),
        (40, "task", "Qwen/Qwen3-8B", False),
        (79, "reasoning", "Qwen/Qwen3-14B", False),
    ],
)
def test_recommendations(free_gib: float, goal: str, model_id: str, in_4bit: bool) -> None:
    choice = recommend_model(int(free_gib * GIB), 412, goal)
    assert (choice.value.model_id, choice.value.load_in_4bit) == (model_id, in_4bit)
    assert f"{free_gib:.1f} GiB" in choice.reason
    assert "412 rows" in choice.reason
    assert choice.value not in choice.alternatives


def test_every_recommendation_fits_and_has_a_reason() -> None:
    for free_gib in (0.5, 1, 2, 3, 3.3, 4, 6, 8, 10, 11, 16, 24, 32, 48, 80, 141, 192, 1000):
        for goal in [goal.id for goal in GOALS] + ["something else"]:
            choice = recommend_model(int(free_gib * GIB), None, goal)
            for option in (choice.value, *choice.alternatives):
                assert option.needed_gb is None or option.needed_gb * GB <= free_gib * GIB
                assert option.label.startswith(option.model_id)
            assert choice.reason.endswith(".")
            assert len({option.model_id for option in (choice.value, *choice.alternatives)}) == 1 + len(
                choice.alternatives
            )


def test_without_a_gpu_a_tiny_model_and_the_demo() -> None:
    choice = recommend_model(None, 100, "style")
    assert choice.value.params_b < 0.2
    assert not choice.value.load_in_4bit
    assert "demo" in choice.reason
    assert "16-bit" not in choice.value.label
