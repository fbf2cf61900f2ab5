"""The linears of every layout, from the sizes in a ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.fit.config_fields import mixer_layers, positive
from engine.fit.types import Experts, Linear


def decoder_linears(
    layout: str,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    ffn: int,
    biases: set[str],
    gated: bool,
    facts: Mapping[str, Any],
    dense_layers: int | None = None,
) -> list[Linear]:
    """The linears of all layers, without the head."""
    q, kv = heads * head_dim, kv_heads * head_dim
    qkv_bias, o_bias, mlp_bias = ("qkv" in biases), ("o" in biases), ("mlp" in biases)
    dense = layers if dense_layers is None else dense_layers

    def separate(out: str = "o_proj") -> list[Linear]:
        return [
            Linear("q_proj", hidden, q, layers, qkv_bias),
            Linear("k_proj", hidden, kv, layers, qkv_bias),
            Linear("v_proj", hidden, kv, layers, qkv_bias),
            Linear(out, q, hidden, layers, o_bias),
        ]

    def fused(name: str, out: str, conv1d: bool = False) -> list[Linear]:
        return [
            Linear(name, hidden, q + 2 * kv, layers, qkv_bias, conv1d=conv1d),
            Linear(out, q, hidden, layers, o_bias, conv1d=conv1d),
        ]

    def two(up: str, down: str, conv1d: bool = False) -> list[Linear]:
        return [
            Linear(up, hidden, ffn, dense, mlp_bias, conv1d=conv1d),
            Linear(down, ffn, hidden, dense, mlp_bias, conv1d=conv1d),
        ]

    three = [
        Linear("gate_proj", hidden, ffn, dense, mlp_bias),
        Linear("up_proj", hidden, ffn, dense, mlp_bias),
        Linear("down_proj", ffn, hidden, dense, mlp_bias),
    ]
    joined = [
        Linear("gate_up_proj", hidden, 2 * ffn, dense, mlp_bias),
        Linear("down_proj", ffn, hidden, dense, mlp_bias),
    ]
    match layout:
        case "phi3":
            return fused("qkv_proj", "o_proj") + joined
        case "glm":
            return separate() + joined
        case "gpt2":
            return fused("c_attn", "c_proj", True) + two("c_fc", "c_proj", True)
        case "bigcode":
            return fused("c_attn", "c_proj") + two("c_fc", "c_proj")
        case "neox" | "falcon" | "bloom":
            return fused("query_key_value", "dense") + two("dense_h_to_4h", "dense_4h_to_h")
        case "opt":
            return separate("out_proj") + two("fc1", "fc2")
        case "phi":
            return separate("dense") + two("fc1", "fc2")
        case "gptj":
            return separate("out_proj") + two("fc_in", "fc_out")
        case "gpt_neo":
            return separate("out_proj") + two("c_fc", "c_proj")
        case "starcoder2":
            return separate() + two("c_fc", "c_proj")
        case "mpt":
            return fused("Wqkv", "out_proj") + two("up_proj", "down_proj")
        case "plain_mlp":
            return separate() + two("up_proj", "down_proj")
        case "fc_mlp":
            return separate() + two("fc1", "fc2")
        case "codegen":
            return fused("qkv_proj", "out_proj") + two("fc_in", "fc_out")
        case "lfm2":
            return _short_convolutions(hidden, q, kv, layers, ffn, facts)
        case "qwen1":
            return [
                *fused("c_attn", "c_proj"),
                Linear("w1", hidden, ffn, dense),
                Linear("w2", hidden, ffn, dense),
                Linear("c_proj", ffn, hidden, dense),
            ]
        case "latent":
            return _latent(hidden, layers, heads, o_bias, facts) + three
    return separate() + (three if gated else two("up_proj", "down_proj"))


def gated_delta(
    linears: list[Linear], facts: Mapping[str, Any], hidden: int, layers: int, model_type: str
) -> list[Linear]:
    """Qwen3-Next and Qwen3.5: most layers have a gated delta rule instead of attention, whose queries are doubled."""
    mixers = mixer_layers(facts, layers)
    keys = (positive(facts.get("linear_num_key_heads")) or 16) * (
        positive(facts.get("linear_key_head_dim")) or 128
    )
    value_heads = positive(facts.get("linear_num_value_heads")) or 32
    values = value_heads * (positive(facts.get("linear_value_head_dim")) or 128)
    names = (
        [("in_proj_qkvz", 2 * keys + 2 * values), ("in_proj_ba", 2 * value_heads)]
        if "next" in model_type
        else [
            ("in_proj_qkv", 2 * keys + values),
            ("in_proj_z", values),
            ("in_proj_b", value_heads),
            ("in_proj_a", value_heads),
        ]
    )
    found = [
        replace(
            item, count=layers - mixers, out_features=item.out_features * (2 if item.name == "q_proj" else 1)
        )
        if item.name in ("q_proj", "k_proj", "v_proj", "o_proj")
        else item
        for item in linears
    ]
    found += [Linear(name, hidden, width, mixers) for name, width in names]
    found.append(Linear("out_proj", values, hidden, mixers))
    return found


def _short_convolutions(
    hidden: int, q: int, kv: int, layers: int, ffn: int, facts: Mapping[str, Any]
) -> list[Linear]:
    """LFM2: short convolutions in most layers; the feed-forward width is cut to two thirds and rounded up."""
    mixers = mixer_layers(facts, layers)
    if facts.get("block_auto_adjust_ff_dim", True):
        step = positive(facts.get("block_multiple_of")) or 256
        ffn = step * -(-int(2 * ffn / 3) // step)
    return [
        Linear("q_proj", hidden, q, layers - mixers),
        Linear("k_proj", hidden, kv, layers - mixers),
        Linear("v_proj", hidden, kv, layers - mixers),
        Linear("in_proj", hidden, 3 * hidden, mixers),
        Linear("out_proj", hidden, hidden, layers),
        Linear("w1", hidden, ffn, layers),
        Linear("w3", hidden, ffn, layers),
        Linear("w2", ffn, hidden, layers),
    ]


def _latent(hidden: int, layers: int, heads: int, o_bias: bool, facts: Mapping[str, Any]) -> list[Linear]:
    """DeepSeek's latent attention: queries and keys through narrow matrices."""
    nope = positive(facts.get("qk_nope_head_dim")) or 128
    rope = positive(facts.get("qk_rope_head_dim")) or 64
    value = positive(facts.get("v_head_dim")) or 128
    kv_rank = positive(facts.get("kv_lora_rank")) or 512
    q_rank = positive(facts.get("q_lora_rank"))
    q_out = heads * (nope + rope)
    queries = (
        [Linear("q_proj", hidden, q_out, layers)]
        if q_rank is None
        else [Linear("q_a_proj", hidden, q_rank, layers), Linear("q_b_proj", q_rank, q_out, layers)]
    )
    return [
        *queries,
        Linear("kv_a_proj_with_mqa", hidden, kv_rank + rope, layers),
        Linear("kv_b_proj", kv_rank, heads * (nope + value), layers),
        Linear("o_proj", heads * value, hidden, layers, o_bias),
    ]


def experts_of(
    facts: Mapping[str, Any], hidden: int, layers: int, intermediate: int
) -> tuple[Experts | None, list[Linear], int | None]:
    """The experts, the linears of shared experts, and how many layers keep a dense feed-forward part."""
    count = next(
        (
            n
            for key in ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
            if (n := positive(facts.get(key))) is not None
        ),
        0,
    )
    if count < 2:
        return None, [], None
    top_k = next(
        (
            n
            for key in (
                "num_experts_per_tok",
                "num_experts_per_token",
                "moe_topk",
                "moe_top_k",
                "top_k_experts",
            )
            if (n := positive(facts.get(key))) is not None
        ),
        2,
    )
    width = next(
        (
            n
            for key in ("moe_intermediate_size", "expert_intermediate_size")
            if (n := positive(facts.get(key))) is not None
        ),
        intermediate,
    )
    dense = positive(facts.get("first_k_dense_replace")) or 0
    if isinstance(facts.get("mlp_only_layers"), list):
        dense = max(dense, len(facts["mlp_only_layers"]))
    every = (
        positive(facts.get("decoder_sparse_step")) or positive(facts.get("interleave_moe_layer_step")) or 1
    )
    dense = min(dense, layers)
    with_experts = (layers - dense) // every
    dense = layers - with_experts
    shared = (
        positive(facts.get("shared_expert_intermediate_size"))
        or positive(facts.get("shared_intermediate_size"))
        or (positive(facts.get("n_shared_experts")) or 0) * width
    )
    if str(facts.get("model_type", "")).startswith("llama4"):
        shared = width
    linears = (
        [
            Linear("gate_proj", hidden, shared, with_experts),
            Linear("up_proj", hidden, shared, with_experts),
            Linear("down_proj", shared, hidden, with_experts),
        ]
        if shared
        else []
    )
    if shared and "shared_expert_intermediate_size" in facts:
        linears.append(Linear("shared_expert_gate", hidden, 1, with_experts))
    fused = 3 * hidden * width * count * with_experts
    return Experts(count, min(top_k, count), width, with_experts, fused, shared), linears, dense
