"""A ``config.json`` from architecture facts, for models of which only the facts are at hand. Plain Python."""

from __future__ import annotations

from typing import Any

from engine.fit.types import Architecture


def config_of(architecture: Architecture) -> dict[str, Any]:
    """The fields that decide sizes, by the names that transformers' configurations share.

    What the facts do not say is left to the architecture's defaults; whoever builds the model should compare the
    number of its parameters with ``architecture.params``.
    """
    config: dict[str, Any] = {
        "model_type": architecture.model_type,
        "hidden_size": architecture.hidden,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "intermediate_size": architecture.intermediate,
        "vocab_size": architecture.vocab,
        "tie_word_embeddings": architecture.tied,
        "pad_token_id": None,
    }
    # Where heads share the width of the model, some configurations compute it; latent attention has several widths.
    if architecture.head_dim * architecture.heads != architecture.hidden and architecture.value_dim in (
        0,
        architecture.head_dim,
    ):
        config["head_dim"] = architecture.head_dim
    if architecture.model_type == "opt":
        config["ffn_dim"] = architecture.intermediate
        config["word_embed_proj_dim"] = architecture.hidden
    if architecture.model_type == "falcon" and architecture.kv_heads > 1:
        # configuration_falcon.py: with one key head for all, the older decoder is meant, which is the default.
        config |= {
            "new_decoder_architecture": True,
            "num_kv_heads": architecture.kv_heads,
            "num_ln_in_parallel_attn": architecture.norms_per_layer,
        }
    if architecture.max_length:
        config["max_position_embeddings"] = architecture.max_length
    if architecture.sliding_window:
        config["sliding_window"] = architecture.sliding_window
    biased = {linear.name for linear in architecture.linears if linear.bias and linear.part == "text"}
    if architecture.model_type in ("llama", "mistral"):
        config["attention_bias"] = "q_proj" in biased
        config["mlp_bias"] = "gate_proj" in biased
    experts = architecture.experts
    if experts is not None:
        config |= {
            "num_experts": experts.count,
            "num_local_experts": experts.count,
            "n_routed_experts": experts.count,
            "num_experts_per_tok": experts.top_k,
            "moe_intermediate_size": experts.intermediate,
        }
        if experts.shared_intermediate:
            config["shared_expert_intermediate_size"] = experts.shared_intermediate
    return config
