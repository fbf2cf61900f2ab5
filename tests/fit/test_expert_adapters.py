"""Adapters on the experts of a layer take no dropout and no DoRA, which is said before a run starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.loading import load
from engine.errors import UserError

MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 2,
    "vocab_size": 64,
}
REFUSED: list[dict[str, str]] = [{"lora_dropout": "0.05"}, {"use_dora": "true"}]


def _load(folder: Path, model: str, **flags: str) -> None:
    file = folder / "run.yaml"
    file.write_text("{}", encoding="utf-8")
    load(file, {"model_name_or_path": model, "train": "rows.jsonl", **flags})


@pytest.mark.parametrize("flags", REFUSED)
@pytest.mark.parametrize("model", ["mistralai/Mixtral-8x7B-v0.1", "Qwen/Qwen3-30B-A3B"])
def test_a_mixture_of_experts_is_refused_with_a_way_out(
    model: str, flags: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refusal:
        _load(tmp_path, model, **flags)
    assert next(iter(flags)) in f"{refusal.value.what} {refusal.value.where}"
    assert "experts" in str(refusal.value)
    _load(tmp_path, model, **flags, lora_target_modules="[q_proj, v_proj]")
    _load(tmp_path, model)


@pytest.mark.parametrize("flags", REFUSED)
@pytest.mark.parametrize("model", ["Qwen/Qwen3-0.6B", "openai/gpt-oss-20b", "someone/unheard-of"])
def test_other_models_are_not(model: str, flags: dict[str, str], tmp_path: Path) -> None:
    _load(tmp_path, model, **flags)


@pytest.mark.parametrize("fields", [{"lora_dropout": 0.05}, {"use_dora": True}])
def test_peft_still_refuses_it(fields: dict[str, Any]) -> None:
    """When it no longer does, the refusal can go."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["mixtral"].from_dict(dict(MIXTRAL)))
        with pytest.raises(ValueError, match="ParamWrapper does not work"):
            get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **fields))
