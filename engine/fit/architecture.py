"""What a model is made of: from a folder's config.json, from the catalogue, or, widest of all, from its size."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import presets
from engine.display import printable
from engine.errors import UserError
from engine.fit.config_fields import HYBRID, SIZE_ONLY, UNKNOWN, VISION, unpacked
from engine.fit.config_reading import from_config
from engine.fit.families import FAMILIES, Family, role
from engine.fit.linears import decoder_linears
from engine.fit.types import Architecture, Experts, Linear
from engine.models.catalogue import name_key

__all__ = ["from_catalogue", "from_config", "from_folder", "from_size", "known_ids"]


def from_catalogue(model_id: str) -> Architecture | None:
    """The published model with this Hub id or name; ``None`` when it is not among the known ones.

    Upper and lower case, the owner, and habits of re-uploaders (``-hf``, ``Meta-``) make no difference.
    """
    entry = _by_id().get(model_id.lower()) or _by_name().get(name_key(model_id.rpartition("/")[2]))
    return None if entry is None else _from_entry(entry, model_id)


def known_ids() -> tuple[str, ...]:
    """Hub ids of every model of which the architecture is known without its config.json."""
    return tuple(model_id for entry in _entries() for model_id in entry["ids"])


def from_folder(folder: Path, name: str | None = None) -> Architecture:
    """Read a model folder: config.json, and the safetensors headers for the exact count where they are there.

    Raises:
        UserError: No readable config.json, or sizes that cannot be meant.
    """
    shown = name or printable(folder, 200)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except OSError:
        raise UserError(
            "The model folder has no config.json.", shown, "Download the model again, with its config.json."
        )
    except ValueError:
        raise UserError("The model's config.json is not readable.", shown, "Download the model again.")
    if not isinstance(config, dict):
        raise UserError("The model's config.json is not readable.", shown, "Download the model again.")
    from engine.models.weights import read_weights

    architecture = from_config(config, shown)
    try:
        params = read_weights(folder, config).params
    except UserError:
        return architecture
    if architecture.prequantized or params == architecture.params:
        return architecture
    difference = abs(params - architecture.params) / params
    note = f"the weight files hold {params:,} weights, {100 * difference:.1f} % from what config.json says"
    unsure = (*architecture.unsure, note) if difference > 0.005 else architecture.unsure
    return replace(
        architecture, params=max(params, architecture.params if difference > 0.3 else params), unsure=unsure
    )


def from_size(params_b: float, name: str) -> Architecture:
    """A stand-in of about this many billion weights, for a model of which only the size is known."""
    if not 0.001 <= params_b <= 10_000 or not math.isfinite(params_b):
        raise UserError(
            f"A model of {params_b:g} billion weights cannot be meant.",
            printable(name, 80),
            "Check its size.",
        )
    target = params_b * 1e9
    dense = [
        entry for entry in _entries() if "moe" not in entry and entry["type"] in ("llama", "qwen2", "mistral")
    ]
    nearest = min(dense, key=lambda entry: abs(math.log(entry["params"] / target)))
    base = _from_entry(nearest, name)
    layers = max(1, round(base.layers * target / base.params))
    linears = tuple(
        replace(item, count=max(1, round(item.count * layers / base.layers))) if item.part != "head" else item
        for item in base.linears
    )
    return replace(
        base,
        params=int(target),
        layers=layers,
        full_attention_layers=layers,
        linears=linears,
        unsure=("only the size of this model is known",),
        spread=SIZE_ONLY,
    )


@cache
def _entries() -> tuple[dict[str, Any], ...]:
    text = Path(presets.__path__[0], "architectures.json").read_text("utf-8")
    return tuple(json.loads(text)["models"])


@cache
def _by_id() -> dict[str, dict[str, Any]]:
    return {model_id.lower(): entry for entry in _entries() for model_id in entry["ids"]}


@cache
def _by_name() -> dict[str, dict[str, Any]]:
    return {name_key(model_id.rpartition("/")[2]): entry for entry in _entries() for model_id in entry["ids"]}


def _from_entry(entry: Mapping[str, Any], name: str) -> Architecture:
    model_type, hidden, layers = entry["type"], entry["hidden"], entry["layers"]
    family = FAMILIES.get(model_type, Family())
    unsure: list[str] = []
    spread = 0
    if model_type not in FAMILIES:
        unsure.append(f"architecture '{model_type}' is treated like Llama")
        spread += UNKNOWN
    if family.estimated:
        unsure.append(family.estimated)
        spread += family.spread
    moe = entry.get("moe") or {}
    fused = sum(math.prod(shape) * count for _, shape, count in entry.get("fused", ()))
    gated = entry.get("gated", True)
    head_dim = entry["head_dim"] or hidden // entry["heads"]
    intermediate = entry["intermediate"] or moe.get("moe_intermediate_size") or 4 * hidden
    biases = set(entry.get("biases", ()))
    raw = entry["linears"]
    if raw is None:
        unsure.append("the list of its linears is estimated")
        spread += HYBRID
        linears = decoder_linears(
            family.layout,
            hidden,
            layers,
            entry["heads"],
            entry["kv_heads"],
            head_dim,
            intermediate,
            biases,
            gated,
            {},
        )
        linears.append(Linear("lm_head", hidden, entry["vocab"], 1, False, "head"))
    else:
        linears = [_entry_linear(item, hidden, biases, model_type) for item in raw]
    attention = sum(
        item.count for item in linears if role(item.name, item.in_features, hidden) in ("q", "qkv")
    )
    mixers = layers - min(attention, layers)
    experts = None
    if fused:
        expert_layers = next(count for _, _, count in entry["fused"])
        experts = Experts(
            moe["num_experts"],
            moe["experts_per_token"],
            moe["moe_intermediate_size"],
            expert_layers,
            fused,
            moe.get("shared_expert_intermediate_size") or 0,
        )
    if entry.get("stored"):
        unsure.append(unpacked(entry["stored"]))
    if entry.get("vision"):
        unsure.append("training on text only is assumed; images need more")
        spread += VISION
    window = entry.get("window")
    return Architecture(
        name=name,
        model_type=model_type,
        params=entry["params"],
        hidden=hidden,
        layers=layers,
        heads=entry["heads"],
        kv_heads=entry["kv_heads"],
        head_dim=head_dim,
        intermediate=intermediate,
        vocab=entry["vocab"],
        tied=bool(entry["tied"]),
        linears=tuple(linears),
        norm_params=hidden * (entry.get("norms", 2) * layers + 1) if entry.get("norm") != "none" else 0,
        embedding_params=entry["vocab"] * hidden,
        value_dim=head_dim,
        gated_mlp=gated,
        activation=family.activation,
        parallel_layer=family.parallel,
        norm=family.norm,
        post_norm=family.post_norm,
        norms_per_layer=entry.get("norms", family.norms),
        qk_norm=bool(entry.get("qk_norm")),
        experts=experts,
        sliding_window=int(re.match(r"\d+", window)[0]) if window and re.match(r"\d+", window) else None,  # type: ignore[index]
        full_attention_layers=min(attention, layers),
        linear_attention_layers=mixers,
        learned_positions=entry.get("learned_positions", 0),
        max_length=entry.get("context"),
        softcap=family.softcap,
        attention_sinks=family.sinks,
        scaled_logits=family.scaled_logits or model_type in ("gemma2", "gemma3n", "gemma4"),
        dropout=family.dropout,
        vision_params=entry.get("vision", 0),
        prequantized=entry.get("stored"),
        unsure=tuple(unsure),
        spread=spread,
    )


def _entry_linear(item: Sequence[Any], hidden: int, biases: set[str], model_type: str) -> Linear:
    name, wide, out, count = item
    does = role(name, wide, hidden)
    group = {"q": "qkv", "k": "qkv", "v": "qkv", "qkv": "qkv", "o": "o", "head": "lm_head"}.get(does, "mlp")
    part: Literal["text", "head"] = "head" if does == "head" else "text"
    return Linear(name, wide, out, count, group in biases, part, model_type == "gpt2" and part == "text")
