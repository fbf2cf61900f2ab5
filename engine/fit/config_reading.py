"""From a ``config.json`` to an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.display import printable
from engine.fit.config_fields import (
    HEADS,
    HIDDEN,
    KV_HEADS,
    LAYERS,
    LENGTH,
    UNFAMILIAR_LAYERS,
    UNKNOWN,
    VISION,
    drops,
    full_layers,
    intermediate_width,
    mixer_layers,
    norm_elements,
    per_layer_embeddings,
    positions_of,
    positive,
    required_size,
    stored_as,
    unpacked,
)
from engine.fit.families import FAMILIES, UNFAMILIAR, Family
from engine.fit.linears import decoder_linears, experts_of, gated_delta
from engine.fit.types import Architecture, Linear


def from_config(config: Mapping[str, Any], name: str) -> Architecture:
    """Read a ``config.json``.

    Args:
        config: Its content.
        name: Folder or Hub id, for messages.

    Raises:
        UserError: A size that is needed is missing or cannot be meant.
    """
    text = config.get("text_config") or config.get("llm_config") or config.get("language_config")
    # Fields of the text part win; what only the outer part says (tying, quantization) still counts.
    facts: dict[str, Any] = {**config, **text} if isinstance(text, Mapping) else dict(config)
    model_type = str(facts.get("model_type") or config.get("model_type") or "")
    family = FAMILIES.get(model_type) or FAMILIES.get(str(config.get("model_type") or ""))
    unsure: list[str] = []
    spread = 0
    if family is None:
        family = Family("latent") if positive(facts.get("kv_lora_rank")) else Family()
        unsure.append(f"architecture '{printable(model_type, 40)}' is treated like Llama")
        spread += UNKNOWN
    if family.layout == "falcon" and facts.get("new_decoder_architecture"):
        # modeling_falcon.py FalconDecoderLayer: a norm each for attention and feed-forward, unless it says one.
        family = replace(family, norms=positive(facts.get("num_ln_in_parallel_attn")) or 2)
    if model_type in UNFAMILIAR:
        unsure.append(f"'{printable(model_type, 40)}' has layers that are no attention")
        spread += UNFAMILIAR_LAYERS
    if family.estimated:
        unsure.append(family.estimated)
        spread += family.spread
    stored = stored_as(config.get("quantization_config"))
    if stored is not None:
        unsure.append(unpacked(stored))
    if isinstance(config.get("vision_config"), Mapping) or isinstance(config.get("audio_config"), Mapping):
        unsure.append("the image or sound part is not counted")
        spread += VISION

    hidden = required_size(facts, HIDDEN, "hidden", name)
    layers = required_size(facts, LAYERS, "layers", name)
    vocab = required_size(facts, ("vocab_size", "padded_vocab_size"), "vocab", name)
    heads = required_size(facts, HEADS, "heads", name)
    head_dim = positive(facts.get("head_dim"))
    if head_dim is None:
        head_dim = max(1, hidden // heads)
    kv_heads = next((n for key in KV_HEADS if (n := positive(facts.get(key))) is not None), heads)
    if facts.get("multi_query") and not facts.get("new_decoder_architecture"):
        kv_heads = 1
    elif family.layout == "falcon" and not facts.get("new_decoder_architecture"):
        kv_heads = heads
    kv_heads = min(kv_heads, heads)
    intermediate = intermediate_width(facts, hidden, name)
    if intermediate is None:
        intermediate = 4 * hidden
        if family.layout in ("llama", "phi3", "glm", "latent"):
            unsure.append("config.json does not give the width of the feed-forward part")
            spread += UNKNOWN
    if family.layout == "qwen1":
        intermediate //= 2
    gated = family.layout in ("llama", "phi3", "glm", "latent", "qwen1") and not str(
        facts.get("mlp_type", "")
    ).startswith("default")
    tied = facts.get("tie_word_embeddings")
    tied = family.tied if tied is None else bool(tied)
    if family.layout in ("gptj", "phi"):
        tied = False
    biases = set(family.biases)
    for key, groups in (
        ("attention_bias", ("qkv", "o")),
        ("qkv_bias", ("qkv",)),
        ("use_qkv_bias", ("qkv",)),
        ("mlp_bias", ("mlp",)),
        ("bias", ("qkv", "o", "mlp")),
        ("use_bias", ("qkv", "o", "mlp")),
    ):
        if isinstance(facts.get(key), bool) and model_type not in ("gpt_neox",):
            value = set(groups) if key != "attention_bias" or "qkv" not in family.biases else {"qkv"}
            biases = biases | value if facts[key] else biases - value

    experts, expert_linears, dense_layers = experts_of(facts, hidden, layers, intermediate)
    linears = decoder_linears(
        family.layout,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        intermediate,
        biases,
        gated,
        facts,
        dense_layers,
    )
    linears = [item for item in linears if item.count] + expert_linears
    if model_type.startswith(("qwen3_next", "qwen3_5", "qwen4")):
        linears = gated_delta(linears, facts, hidden, layers, model_type)
    linears.append(Linear("lm_head", hidden, vocab, 1, "lm_head" in biases, "head"))
    positions = positions_of(family.layout, facts)
    embedding = vocab * hidden
    project = positive(facts.get("word_embed_proj_dim")) or hidden
    if family.layout == "opt" and project != hidden:
        embedding = vocab * project
        linears[-1] = replace(linears[-1], in_features=project)
        linears += [Linear("project_in", project, hidden, 1), Linear("project_out", hidden, project, 1)]
    norm_params = norm_elements(family, hidden, layers, head_dim, facts)
    params = (
        embedding
        + positions * hidden
        + norm_params
        + sum(
            (linear.weights * (0 if linear.part == "head" and tied else 1)) * linear.count
            + (linear.out_features * linear.count if linear.bias else 0)
            for linear in linears
        )
        + (experts.fused_params if experts else 0)
        + (experts.count * hidden * experts.layers if experts and experts.fused_params else 0)
    )
    params += per_layer_embeddings(facts, hidden, layers, vocab)
    window = positive(facts.get("sliding_window"))
    if facts.get("use_sliding_window") is False:
        window = None
    return Architecture(
        name=name,
        model_type=model_type,
        params=params,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocab=vocab,
        tied=tied,
        linears=tuple(linears),
        norm_params=norm_params,
        embedding_params=embedding,
        value_dim=positive(facts.get("v_head_dim")) or head_dim,
        gated_mlp=gated,
        activation=str(
            facts.get("hidden_act")
            or facts.get("hidden_activation")
            or facts.get("activation_function")
            or facts.get("activation")
            or family.activation
        ),
        parallel_layer=bool(facts.get("use_parallel_residual", facts.get("parallel_attn", family.parallel))),
        norm=family.norm,
        norms_per_layer=family.norms,
        post_norm=family.post_norm,
        qk_norm=family.qk_norm or bool(facts.get("use_qk_norm")),
        experts=experts,
        sliding_window=window,
        full_attention_layers=full_layers(facts, layers, window),
        linear_attention_layers=mixer_layers(facts, layers),
        learned_positions=positions,
        max_length=next((n for key in LENGTH if (n := positive(facts.get(key))) is not None), None),
        softcap=bool(facts.get("attn_logit_softcapping"))
        if "attn_logit_softcapping" in facts
        else family.softcap,
        attention_sinks=family.sinks,
        scaled_logits=family.scaled_logits or bool(facts.get("final_logit_softcapping")),
        dropout=drops(facts, family.dropout),
        prequantized=stored,
        checkpoint_dtype=str(
            config.get("dtype") or config.get("torch_dtype") or facts.get("torch_dtype") or "float32"
        ),
        unsure=tuple(unsure),
        spread=spread,
    )
