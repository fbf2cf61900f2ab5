"""Advice on base, instruct, vision and GGUF."""

from __future__ import annotations

from engine.advise.variant import BASE_NEEDS_ROWS, advise_variant, recommend_variant
from engine.models.naming import read_name


def test_base_needs_2000_rows() -> None:
    base = read_name("Qwen/Qwen2.5-7B")
    against = advise_variant(base, BASE_NEEDS_ROWS - 1)
    assert (against.level, against.better) == ("advised against", "Qwen/Qwen2.5-7B-Instruct")
    assert "1,999 rows are too few" in against.reasons[0]
    assert advise_variant(base, BASE_NEEDS_ROWS).level == "good"
    assert "2,000 rows" in advise_variant(base, None).reasons[0]


def test_instruct_wants_its_own_template() -> None:
    instruct = read_name("Qwen/Qwen2.5-7B-Instruct")
    assert advise_variant(instruct, 10).level == "good"
    other = advise_variant(instruct, 10, own_template=False)
    assert other.level == "advised against"
    assert "model's own template" in other.reasons[0]
    assert advise_variant(instruct, 10, has_template=False).level == "advised against"
    assert advise_variant(instruct, 10, has_template=None).level == "good"
    assert advise_variant(read_name("Qwen/Qwen2.5-7B"), 5000, own_template=False).level == "good"


def test_vision_only_for_images() -> None:
    vision = read_name("google/gemma-3-4b-it")
    assert "no" not in advise_variant(vision, 10).level
    assert "the dataset has none" in advise_variant(vision, 10).reasons[0]
    assert "text only" in advise_variant(vision, 10, has_images=True).reasons[0]


def test_gguf_is_refused_with_its_twin() -> None:
    advice = advise_variant(read_name("bartowski/Llama-3.1-8B-Instruct-GGUF"), 10)
    assert (advice.level, advice.better) == ("refused", "meta-llama/Llama-3.1-8B-Instruct")
    assert "not for training" in advice.reasons[0]


def test_recommended_variant_names_the_numbers() -> None:
    assert "412 rows (fewer than 2,000)" in recommend_variant(412).reason
    many = recommend_variant(5000)
    assert (many.value, many.alternatives) == ("instruct", ("base",))
    assert "5,000 rows" in many.reason
    assert recommend_variant(None).value == "instruct"
