"""Loading: number formats as written, and architectures without sdpa."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.draft import DEMO_MODEL, DEMO_RECIPE
from engine.config.loading import load
from engine.errors import UserError
from engine.train.model import load_model


def test_the_model_is_loaded_in_the_number_format_of_the_configuration() -> None:
    for dtype in ("float32", "bfloat16"):
        model = load_model(load(DEMO_RECIPE, {"dtype": dtype}))
        assert {str(parameter.dtype) for parameter in model.parameters()} == {f"torch.{dtype}"}


def test_an_architecture_without_sdpa_is_computed_plainly(tmp_path: Path) -> None:
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        num_hidden_layers=2,
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        num_local_experts=2,
        num_experts_per_tok=1,
        vocab_size=128,
        sliding_window=16,
        pad_token_id=0,
        layer_types=["sliding_attention", "full_attention"],
    )
    GptOssForCausalLM(config).save_pretrained(tmp_path / "model")
    model = load_model(load(DEMO_RECIPE, {"model_name_or_path": str(tmp_path / "model")}))
    assert model.config._attn_implementation == "eager"


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(load(DEMO_RECIPE, {"model_name_or_path": str(tmp_path)}))


def test_the_demo_model_is_what_the_recipe_trains() -> None:
    assert load(DEMO_RECIPE).model.model_name_or_path == DEMO_MODEL


def test_4_bit_gradients_reach_every_adapter_also_after_an_evaluation() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = load_model(load(DEMO_RECIPE, {"load_in_4bit": "true"}))
    model = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    ids = torch.arange(4, 40).unsqueeze(0)

    def gradients() -> dict[str, torch.Tensor]:
        model.train()
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    before = gradients()
    model.eval()
    with torch.inference_mode():
        model(input_ids=ids)
        model(input_ids=ids[:, :1])
    after = gradients()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
