"""Fields of a ``config.json`` under their many names, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.fit.families import Family

# Beyond these a field is a typing error or an attack, not a model.
_LARGEST = {"hidden": 1 << 17, "layers": 1 << 11, "vocab": 1 << 23, "heads": 1 << 12, "intermediate": 1 << 20}

# How far the need may lie above the prediction, in per cent, for what had to be assumed.
UNKNOWN, UNFAMILIAR_LAYERS, HYBRID, VISION, SIZE_ONLY = 30, 40, 15, 10, 50

HIDDEN = ("hidden_size", "n_embd", "d_model", "dim", "embed_dim")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
INTERMEDIATE = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "decoder_ffn_dim")
LENGTH = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "n_ctx")


def norm_elements(family: Family, hidden: int, layers: int, head_dim: int, facts: Mapping[str, Any]) -> int:
    """Elements in normalisation layers."""
    each = hidden * (
        2 if family.norm == "layer" and facts.get("model_type") not in ("cohere", "cohere2") else 1
    )
    if family.norm == "olmo":
        return 0
    qk = 2 * head_dim * layers if family.qk_norm else 0
    return each * (family.norms * layers + 1) + qk


def per_layer_embeddings(facts: Mapping[str, Any], hidden: int, layers: int, vocab: int) -> int:
    """Gemma 3n and small Gemma 4: an embedding of its own for every layer, and the matrices that mix it in."""
    width = positive(facts.get("hidden_size_per_layer_input"))
    if width is None:
        return 0
    rows = positive(facts.get("vocab_size_per_layer_input")) or vocab
    return rows * layers * width + 3 * hidden * width * layers


def positions_of(layout: str, facts: Mapping[str, Any]) -> int:
    """Rows of the table of learned positions; 0 without one."""
    if layout not in ("gpt2", "bigcode", "opt", "gpt_neo"):
        return 0
    length = next((n for key in LENGTH if (n := positive(facts.get(key))) is not None), 2048)
    return length + (2 if layout == "opt" else 0)


def full_layers(facts: Mapping[str, Any], layers: int, window: int | None) -> int:
    """Layers whose attention sees the whole text."""
    types = facts.get("layer_types")
    if isinstance(types, list):
        return sum(1 for kind in types[:layers] if kind in ("full_attention", "attention"))
    every = positive(facts.get("full_attention_interval")) or positive(facts.get("sliding_window_pattern"))
    if every:
        return layers // every
    return 0 if window else layers


def mixer_layers(facts: Mapping[str, Any], layers: int) -> int:
    """Layers with another mixer in place of attention."""
    types = facts.get("layer_types")
    if isinstance(types, list):
        return sum(1 for kind in types[:layers] if "attention" not in str(kind) or kind == "linear_attention")
    every = positive(facts.get("full_attention_interval"))
    return layers - layers // every if every else 0


def intermediate_width(facts: Mapping[str, Any], hidden: int, name: str) -> int | None:
    """Width inside the feed-forward part; ``None`` when it is not given."""
    for key in INTERMEDIATE:
        value = facts.get(key)
        if isinstance(value, list) and value:  # Gemma 3n: one for each layer
            value = max((n for n in value if positive(n)), default=None)
        if (found := positive(value)) is not None:
            return _checked(found, "intermediate", key, name)
    ratio = facts.get("expansion_ratio") or facts.get("mlp_ratio")
    return int(hidden * ratio) if isinstance(ratio, int | float) and 0 < ratio < 64 else None


def unpacked(stored: str) -> str:
    """What is assumed of weights that are stored in a packed format."""
    return f"its weights are stored as {stored}, and counted as unpacked to 16 bits"


def stored_as(quantization: Any) -> str | None:
    """The format of packed weights; ``None`` for ordinary ones."""
    if not isinstance(quantization, Mapping):
        return None
    return printable(quantization.get("quant_method") or "quantized", 30)


def required_size(facts: Mapping[str, Any], keys: tuple[str, ...], what: str, name: str) -> int:
    """The first of these fields that is there.

    Args:
        facts: The config.json.
        keys: Names it may have.
        what: What it is: ``hidden``, ``layers``, ``vocab``, ``heads``.
        name: The model, for messages.

    Raises:
        UserError: None is there, or it cannot be meant.
    """
    for key in keys:
        if facts.get(key) is None:
            continue
        value = positive(facts[key])
        if value is None:
            raise UserError(
                f"The model's config.json gives {key} as {printable(facts[key], 40)}, which is not a size.",
                name,
                "Download the config.json again from the model's page.",
            )
        return _checked(value, what, key, name)
    raise UserError(
        f"The model's config.json does not say its {what} ({keys[0]}).",
        name,
        "Download the config.json again from the model's page; without it no memory can be predicted.",
    )


def _checked(value: int, what: str, key: str, name: str) -> int:
    if value > _LARGEST[what]:
        raise UserError(
            f"The model's config.json gives {key} as {value:,}, which no model has.",
            name,
            "Download the config.json again from the model's page.",
        )
    return value


def positive(value: Any) -> int | None:
    """The value, if it is a whole number above 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def drops(facts: Mapping[str, Any], default: bool) -> bool:
    """Whether the results of attention and feed-forward go through dropout."""
    names = ("resid_pdrop", "residual_dropout", "resid_dropout", "hidden_dropout", "dropout")
    given = [facts[name] for name in names if isinstance(facts.get(name), int | float)]
    return any(value > 0 for value in given) if given else default
