"""What a run.yaml means for its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import presets
from engine.config.loading import load
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.fit.cards import find_card
from engine.fit.predict import predict
from engine.fit.setup import architecture_of, setup_of
from engine.fit.simulate.predict import simulate
from engine.fit.targets import find_targets

RECIPES = Path(presets.__path__[0], "recipes")
GIB = 1 << 30


def recipe(name: str, **changes: dict[str, Any]) -> RunConfig:
    values = load(RECIPES / f"{name}.yaml").model_dump()
    for section, change in changes.items():
        values[section] |= change
    return RunConfig.model_validate(values)


def test_only_orpo_has_all_logits_at_once() -> None:
    model = architecture_of("Qwen/Qwen3-8B")
    size = {"per_device_train_batch_size": 2, "max_length": 2048}
    orpo, dpo = (predict(model, setup_of(recipe(name, training=size))) for name in ("orpo-lora", "dpo-lora"))
    logits = 4 * 2048 * model.vocab
    assert orpo.binding.name == "loss"
    # In 32 bits: themselves, their gradient; of the better answers a log-softmax.
    assert orpo.allocated.p50 - dpo.allocated.p50 > 8 * logits


@pytest.mark.parametrize(
    ("name", "method", "preference", "held"),
    [
        ("dpo-lora", {}, {"precompute_ref_log_probs": False}, False),
        ("dpo-lora", {"tuning": "full"}, {"precompute_ref_log_probs": False}, True),
        ("dpo-lora", {"tuning": "full"}, {"precompute_ref_log_probs": True}, False),
        ("kto-lora", {"tuning": "freeze"}, {"precompute_ref_log_probs": False}, True),
        ("grpo-lora", {"tuning": "full"}, {}, False),
        ("grpo-lora", {"tuning": "full", "beta": 0.04}, {}, True),
        ("rloo-lora", {"tuning": "full"}, {}, True),
        ("sft-full", {}, {}, False),
    ],
)
def test_a_model_to_compare_with_is_counted(
    name: str, method: dict[str, Any], preference: dict[str, Any], held: bool
) -> None:
    setup = setup_of(recipe(name, method=method, preference=preference))
    assert setup.reference == held
    model = architecture_of("Qwen/Qwen3-8B")
    weights = [part.bytes for part in predict(model, setup).binding.parts if "compare" in part.name]
    assert weights == ([2 * model.params] if held else [])


def test_a_second_model_is_not_left_out_of_the_simulated_step() -> None:
    setup = setup_of(recipe("rloo-lora", method={"tuning": "full"}))
    with pytest.raises(UserError, match="second"):
        simulate(setup, architecture_of("Qwen/Qwen3-0.6B"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rtx4090", "RTX 4090"),
        ("RTX3090Ti", "RTX 3090 Ti"),
        ("gtx1080ti", "GTX 1080 Ti"),
        ("rtxa6000", "RTX A6000"),
    ],
)
def test_cards_are_found_without_spaces(text: str, name: str) -> None:
    card = find_card(text)
    assert card is not None
    assert card.name == name


def test_a_card_that_is_not_known_has_a_short_way_out() -> None:
    with pytest.raises(UserError) as refused:
        find_targets("RTX 4091", None, 1)
    assert "RTX 4090" in refused.value.fix
    assert len(refused.value.fix) < 90
