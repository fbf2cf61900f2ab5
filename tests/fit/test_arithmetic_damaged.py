"""Models nobody knows and configs that are damaged: a wider interval or a refusal, never a wrong "fits"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import UserError
from engine.fit.architecture import from_catalogue, from_config, from_size
from engine.fit.cards import find_card, known_cards
from engine.fit.predict import predict
from engine.fit.types import TrainSetup

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
KEYS = [
    *LLAMA, "head_dim", "rope_scaling", "layer_types", "num_experts", "num_experts_per_tok", "moe_intermediate_size",
    "sliding_window", "text_config", "quantization_config", "vision_config", "kv_lora_rank", "q_lora_rank", "v_head_dim",
    "first_k_dense_replace", "mlp_only_layers", "decoder_sparse_step", "word_embed_proj_dim", "expansion_ratio",
    "full_attention_interval", "linear_num_value_heads", "shared_expert_intermediate_size", "hidden_size_per_layer_input",
    "attention_bias", "resid_pdrop", "block_multiple_of", "attn_logit_softcapping",
]  # fmt: skip
TYPES = [
    "llama",
    "gpt2",
    "falcon",
    "opt",
    "mixtral",
    "qwen3_next",
    "deepseek_v3",
    "lfm2",
    "gemma3n",
    "mpt",
    "nobody",
    "",
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 1, 2, 3, 7, 64, 4096, 10**6, 10**12, 2**63, 0.5, -0.0, 1e300, float("nan"), float("inf")]
    ),
    st.text(max_size=8),
    st.lists(
        st.one_of(st.integers(-2, 4096), st.text(max_size=3), st.sampled_from(["full_attention"])), max_size=4
    ),
    st.dictionaries(st.sampled_from(KEYS), st.integers(-1, 9000), max_size=3),
)
QUICK = TrainSetup(batch=1, seq_len=128)


@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
    st.sets(st.sampled_from(sorted(LLAMA)), max_size=2),
    st.sampled_from(TYPES),
)
@example({"hidden_size": 1}, set(), "gpt2")
def test_a_damaged_config_gives_an_answer_or_a_refusal(
    changed: dict[str, Any], missing: set[str], model_type: str
) -> None:
    config = {**LLAMA, "model_type": model_type, **changed}
    for key in missing:
        config.pop(key, None)
    try:
        architecture = from_config(config, "damaged")
        found = predict(architecture, QUICK)
    except UserError as refusal:
        assert refusal.what
        assert refusal.fix
        return
    assert found.allocated.p95 >= found.allocated.p50 >= 2 * architecture.params * 0.99
    assert found.smi.p95 >= found.smi.p50 >= found.reserved.p50 >= found.allocated.p50


@pytest.mark.parametrize("value", [0, -4096, "4096", 10**12, None, [4096], 2048.5, True])
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_size_that_cannot_be_meant_is_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        from_config({**LLAMA, key: value}, "damaged")


def test_an_unknown_architecture_has_a_wider_interval_and_says_so() -> None:
    known = predict(from_config(LLAMA, "a"), QUICK)
    unknown = predict(from_config({**LLAMA, "model_type": "brand_new"}, "b"), QUICK)
    assert unknown.smi.p50 == known.smi.p50
    assert unknown.reserved.p95 >= 1.3 * known.reserved.p50 > known.reserved.p95
    assert any("brand_new" in note for note in unknown.notes)


def test_layers_that_are_no_attention_widen_it_again() -> None:
    found = from_config({**LLAMA, "model_type": "mamba2"}, "c")
    assert found.spread > from_config({**LLAMA, "model_type": "brand_new"}, "b").spread
    assert any("no attention" in note for note in found.unsure)


@pytest.mark.parametrize("setup", [TrainSetup(quantization="nf4"), TrainSetup(), TrainSetup(tuning="full")])
def test_a_model_bigger_than_any_card_fits_none(setup: TrainSetup) -> None:
    giant = from_config(
        {**LLAMA, "hidden_size": 32768, "intermediate_size": 131072, "num_hidden_layers": 200}, "giant"
    )
    assert giant.params > 2e12
    for card in known_cards():
        assert predict(giant, setup, card=card).smi.p95 > card.usable


def test_only_a_size_has_the_widest_interval() -> None:
    found = from_size(7, "seven")
    prediction = predict(found, TrainSetup(batch=1, seq_len=512))
    real = predict(_known("meta-llama/Llama-2-7b-hf"), TrainSetup(batch=1, seq_len=512))
    assert prediction.allocated.p50 < real.allocated.p95 * 1.2
    assert prediction.allocated.p95 > real.allocated.p50
    assert prediction.notes
    for size in (0, -7, 1e9, float("nan")):
        with pytest.raises(UserError):
            from_size(size, "x")


@pytest.mark.parametrize("size", [0.135, 1, 3, 7, 13, 34, 70, 180])
def test_a_stand_in_covers_real_models_of_its_size(size: float) -> None:
    # Half of the uncertainty is what a model of this size is made of; the upper end covers the published ones.
    named = {
        0.135: "HuggingFaceTB/SmolLM-135M", 1: "meta-llama/Llama-3.2-1B", 3: "meta-llama/Llama-3.2-3B",
        7: "mistralai/Mistral-7B-v0.1", 13: "meta-llama/Llama-2-13b-hf", 34: "01-ai/Yi-34B",
        70: "meta-llama/Llama-3.1-70B", 180: "tiiuae/falcon-180B",
    }  # fmt: skip
    real = _known(named[size])
    for setup in (TrainSetup(batch=1, seq_len=512), TrainSetup(quantization="nf4", batch=1, seq_len=512)):
        if setup.quantization == "nf4" and real.model_type == "falcon":
            continue  # whose linears are not quantized, which a size does not tell
        stand_in = predict(from_size(real.params / 1e9, "stand-in"), setup)
        assert predict(real, setup).smi.p50 <= stand_in.smi.p95


def test_a_card_of_unknown_name_has_no_verdict() -> None:
    assert find_card("some new card") is None
    found = predict(_known("Qwen/Qwen3-0.6B"), QUICK)
    assert found.smi.p50 > found.reserved.p50


@pytest.mark.parametrize(
    "setup",
    [
        replace(QUICK, batch=0),
        replace(QUICK, seq_len=-1),
        replace(QUICK, seq_len=10**12),
        replace(QUICK, lora_r=0),
        replace(QUICK, num_gpus=0),
        replace(QUICK, loss="nobody's"),
    ],
)
def test_a_setup_that_cannot_be_meant_is_refused(setup: TrainSetup) -> None:
    with pytest.raises(UserError):
        predict(_known("Qwen/Qwen3-0.6B"), setup)


def _known(model_id: str) -> Any:
    found = from_catalogue(model_id)
    assert found is not None
    return found
