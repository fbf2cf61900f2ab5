"""A merged model is the base with its adapter: every kind of adapter, every layout of a checkpoint, and every way to go wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from engine.deliver.export import merge as merge_module
from engine.deliver.export import merge_write
from engine.deliver.export.base_map import Unmapped
from engine.deliver.export.job import Cancelled
from engine.deliver.export.merge import merge
from engine.deliver.export.tensors import tensors_in
from engine.deliver.source import Trained
from engine.errors import UserError
from engine.models.weights import read_header
from tests.deliver.exports_made import (
    VOCABULARY,
    Told,
    adapted,
    base_model,
    index_of,
    logits,
    run_yaml,
    tuned_run,
)

LAYERS = ["q_proj", "down_proj"]
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": ({}, {}),
    "rank-stabilised": ({}, {"use_rslora": True}),
    "dora": ({}, {"use_dora": True}),
    "bias of the adapter": (
        {"attention_bias": True},
        {"lora_bias": True, "target_modules": ["q_proj", "o_proj"]},
    ),
    "biases trained": ({"attention_bias": True}, {"bias": "all"}),
    "ranks and strengths of their own": (
        {},
        {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"down_proj": 32}},
    ),
    "a layer trained whole": ({}, {"target_modules": LAYERS, "modules_to_save": ["lm_head"]}),
    "a norm trained whole": ({}, {"target_modules": LAYERS, "modules_to_save": ["input_layernorm"]}),
    "embedding": ({}, {"target_modules": [*LAYERS, "embed_tokens"]}),
    "dora on the embedding": ({}, {"target_modules": ["embed_tokens"], "use_dora": True}),
    "shared embedding": ({"tie_word_embeddings": True}, {}),
    "shared embedding, only one side changed": (
        {"tie_word_embeddings": True},
        {"target_modules": [*LAYERS, "embed_tokens"]},
    ),
    "shared embedding trained whole": (
        {"tie_word_embeddings": True},
        {"target_modules": LAYERS, "modules_to_save": ["embed_tokens"]},
    ),
    "shared head only": ({"tie_word_embeddings": True}, {"target_modules": [*LAYERS, "lm_head"]}),
    "some tokens": (
        {},
        {"target_modules": LAYERS, "trainable_token_indices": {"embed_tokens": [5, 9, 1279]}},
    ),
    "some tokens, shared": (
        {"tie_word_embeddings": True},
        {"target_modules": LAYERS, "trainable_token_indices": {"embed_tokens": [5, 9, 1279]}},
    ),
    "a parameter": ({}, {"target_modules": ["o_proj"], "target_parameters": ["q_proj.weight"]}),
}
ARCHITECTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "qwen3": ({}, {}),
    "mistral": ({}, {}),
    "gemma3_text": ({}, {}),
    "phi3": ({}, {}),
    "gpt2": ({}, {"fan_in_fan_out": True, "target_modules": ["c_attn", "c_proj"]}),
    "gpt2-dora": ({}, {"fan_in_fan_out": True, "target_modules": ["c_attn"], "use_dora": True}),
    "gpt_neox": ({}, {}),
    "qwen3_moe": ({}, {}),
    "qwen3_moe-experts": (
        {},
        {
            "target_modules": ["q_proj"],
            "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        },
    ),
    "mixtral-experts": (
        {},
        {
            "target_modules": ["q_proj"],
            "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        },
    ),
    "gpt_oss-experts": (
        {},
        {
            "target_modules": ["q_proj"],
            "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        },
    ),
}


USUAL = {
    "dora", "bias of the adapter", "a layer trained whole", "shared embedding, only one side changed",
    "some tokens, shared", "gpt2", "gemma3_text", "qwen3_moe-experts",
}  # fmt: skip


def usual(kinds: dict[str, Any]) -> list[Any]:
    """The most telling ones by default, all with ``-m thorough``."""
    return [kind if kind in USUAL else pytest.param(kind, marks=pytest.mark.thorough) for kind in kinds]


def merged(trained: Trained, into: Path, dtype: str | None = None) -> Told:
    told = Told()
    into.mkdir()
    merge(trained, into, told, dtype)
    return told


def loaded(folder: Path, auto_model: str = "AutoModelForCausalLM") -> Any:
    model, info = getattr(transformers, auto_model).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model


def difference(trained: Trained, base: Path, into: Path, tokens: int = VOCABULARY) -> float:
    wanted, got = logits(adapted(base, trained.path), tokens), logits(loaded(into), tokens)
    untuned = logits(loaded(base))
    assert untuned.shape != wanted.shape or not torch.allclose(wanted, untuned, atol=1e-3)
    return float((wanted - got).abs().max())


@pytest.mark.parametrize("kind", usual(KINDS))
def test_every_kind_of_adapter(tmp_path: Path, kind: str) -> None:
    config, lora = KINDS[kind]
    base = base_model(tmp_path / "base", **config)
    _, trained = tuned_run(base, **lora)
    told = merged(trained, tmp_path / "merged")
    assert difference(trained, base, tmp_path / "merged") < 1e-4
    assert not told.said
    assert told.bytes[-1][0] == told.bytes[-1][1]


@pytest.mark.parametrize("kind", usual(ARCHITECTURES))
def test_every_layout_of_a_checkpoint(tmp_path: Path, kind: str) -> None:
    config, lora = ARCHITECTURES[kind]
    base = base_model(tmp_path / "base", kind.partition("-")[0], shard="200KB", **config)
    _, trained = tuned_run(base, **lora)
    told = merged(trained, tmp_path / "merged")
    assert difference(trained, base, tmp_path / "merged") < 1e-4
    assert not told.said
    assert index_of(tmp_path / "merged") == index_of(base), "names and files are those of the base"


def test_new_tokens_lengthen_the_embeddings(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base", tie_word_embeddings=True, shard="200KB")
    new = [VOCABULARY, VOCABULARY + 1, VOCABULARY + 2]
    _, trained = tuned_run(
        base, add_tokens=3, target_modules=LAYERS, trainable_token_indices={"embed_tokens": new}
    )
    into = tmp_path / "merged"
    merged(trained, into)
    assert difference(trained, base, into, VOCABULARY + 3) < 1e-4
    assert json.loads((into / "config.json").read_text())["vocab_size"] == VOCABULARY + 3
    assert len(transformers.AutoTokenizer.from_pretrained(into)) == VOCABULARY + 3


def test_new_rows_that_nobody_learnt_begin_as_the_mean(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base")
    _, trained = tuned_run(base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained.path)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|never|>"]})
    tokenizer.save_pretrained(trained.path)
    merged(trained, tmp_path / "merged")
    weight = loaded(tmp_path / "merged").get_input_embeddings().weight
    assert weight.shape[0] == VOCABULARY + 1
    torch.testing.assert_close(weight[-1], weight[:-1].mean(0))


def test_a_reward_model_keeps_its_score_and_loses_its_words(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base")
    kind = "AutoModelForSequenceClassification"
    _, trained = tuned_run(base, auto_model=kind, objective="reward")
    into = tmp_path / "merged"
    merged(trained, into)
    ids = torch.arange(2 * 24).reshape(2, 24)
    with torch.inference_mode():
        wanted = adapted(base, trained.path, kind).eval()(input_ids=ids).logits
        got = loaded(into, kind).eval()(input_ids=ids).logits
    assert got.shape == (2, 1)
    assert float((wanted - got).abs().max()) < 1e-4
    assert "lm_head.weight" not in read_header(into / "model.safetensors")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_number_format_rounds_once(tmp_path: Path, dtype: str) -> None:
    base = base_model(tmp_path / "base")
    _, trained = tuned_run(base)
    exact, rounded = tmp_path / "exact", tmp_path / "rounded"
    merged(trained, exact)
    merged(trained, rounded, dtype)
    wanted = {name: tensor.tensor() for name, tensor in tensors_in(exact / "model.safetensors").items()}
    for name, tensor in tensors_in(rounded / "model.safetensors").items():
        assert torch.equal(tensor.tensor(), wanted[name].to(getattr(torch, dtype))), name
    assert json.loads((rounded / "config.json").read_text())["dtype"] == dtype


def test_sixteen_bits_stay_within_their_bound(tmp_path: Path) -> None:
    """The merged weights are the nearest bfloat16 numbers, so the logits differ by no more than rounding does."""
    base = base_model(tmp_path / "base", dtype="bfloat16")
    _, trained = tuned_run(base)
    told = merged(trained, tmp_path / "merged")
    model = loaded(tmp_path / "merged")
    wanted = logits(adapted(base, trained.path))
    spread = float(wanted.std())
    assert float((wanted - logits(model)).abs().max()) < 0.05 * spread
    assert {header[0] for header in read_header(tmp_path / "merged" / "model.safetensors").values()} == {
        "BF16"
    }
    assert not told.said


def test_a_quantized_base_is_refused_and_named(tmp_path: Path) -> None:
    base = base_model(tmp_path / "tiny-bnb-4bit")
    _, trained = tuned_run(base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}})
    )
    with pytest.raises(UserError, match="rounded to a few bits") as caught:
        merged(trained, tmp_path / "merged")
    assert "--to adapter" in caught.value.fix
    assert "tiny with load_in_4bit" in caught.value.fix
    assert not any((tmp_path / "merged").iterdir())


def test_a_base_that_is_gone(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base")
    _, trained = tuned_run(base)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="folder of the base model is gone"):
        merged(trained, tmp_path / "merged")


def test_an_adapter_of_another_model(tmp_path: Path) -> None:
    _, trained = tuned_run(base_model(tmp_path / "base"))
    base_model(tmp_path / "base", hidden_size=32, head_dim=8)
    with pytest.raises(UserError, match="does not fit the base model"):
        merged(trained, tmp_path / "merged")


def test_what_cannot_be_mapped_is_merged_whole_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_model(tmp_path / "base", shard="200KB")
    _, trained = tuned_run(base)
    monkeypatch.setattr(merge_module, "_require_sources", _unmapped)
    told = merged(trained, tmp_path / "merged")
    assert "whole model is loaded" in told.said[0]
    assert difference(trained, base, tmp_path / "merged") < 1e-4
    monkeypatch.setattr("engine.deliver.export.needs.memory", lambda limits: (1 << 20, 1 << 10, False))
    (tmp_path / "again").mkdir()
    with pytest.raises(UserError, match="RAM"):
        merge(trained, tmp_path / "again", Told())


def _unmapped(*args: Any) -> None:
    raise Unmapped("model.layers.0.odd")


def test_when_memory_runs_out_smaller_pieces_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_model(tmp_path / "base")
    _, trained = tuned_run(base)
    tight = 1 << 16
    real = merge_write.apply_all

    def small_memory(changes: Any, shape: Any, rows_at: Any, at_once: int) -> Any:
        if at_once > tight:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return real(changes, shape, rows_at, at_once)

    monkeypatch.setattr(merge_write, "apply_all", small_memory)
    told = merged(trained, tmp_path / "merged")
    assert any("smaller" in words or "pieces of" in words for words in told.said)
    assert difference(trained, base, tmp_path / "merged") < 1e-4
    tight = 0
    before = (trained.path / "adapter_model.safetensors").read_bytes()
    (tmp_path / "again").mkdir()
    with pytest.raises(UserError, match="ran out while merging"):
        merge(trained, tmp_path / "again", Told())
    assert (trained.path / "adapter_model.safetensors").read_bytes() == before


def test_it_can_be_stopped_anywhere(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base", shard="200KB")
    _, trained = tuned_run(base)
    for tenth in range(10):
        into = tmp_path / f"merged-{tenth}"
        into.mkdir()
        with pytest.raises(Cancelled):
            merge(trained, into, Told(stop_at=tenth / 10))


def test_a_model_that_was_trained_whole_is_the_same_files(tmp_path: Path) -> None:
    from engine.deliver.source import find_trained
    from engine.run.layout import create

    run = create("whole")
    base_model(run.model, shard="200KB")
    run.config.write_text(run_yaml(tmp_path / "base", tuning="full"))
    trained = find_trained(run)
    merged(trained, tmp_path / "merged")
    for path in run.model.glob("*.safetensors"):
        assert os.path.samefile(path, tmp_path / "merged" / path.name)
    merged(trained, tmp_path / "smaller", "bfloat16")
    assert index_of(tmp_path / "smaller") == index_of(run.model)
    wanted, got = logits(loaded(run.model)), logits(loaded(tmp_path / "smaller"))
    assert 0 < float((wanted - got).abs().max()) < 0.05 * float(wanted.std())
