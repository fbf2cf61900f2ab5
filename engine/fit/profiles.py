"""Stack profiles: what the libraries of one software stack do with memory, each fact with the code that says so.

A profile is a TOML file in ``presets/stack_profiles``. It may extend another one; then it names only what differs.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import presets
from engine.display import printable
from engine.errors import UserError

DEFAULT = "finetui"


@dataclass(frozen=True, slots=True)
class Profile:
    """One software stack.

    Attributes:
        name: File name without ending.
        title: The stack in words, with versions.
        adapter_float32: Adapters on 16-bit weights are held in float32.
        adapter_float32_quantized: The same on quantized weights.
        adapter_casts_input: The adapter casts its input to its own number format, also under autocast.
        adapter_clones_quantized: The result of a quantized linear is cloned before the adapter's part is added.
        adapter_targets: Linears that get an adapter where a run does not say.
        norms_float32_quantized: Normalisations of a quantized model are cast to float32.
        embeddings_float32_quantized: So are embedding and head.
        bnb4_keeps_input: The 4-bit linear keeps its input for the backward pass.
        bnb8_keeps_input: The 8-bit linear keeps its input, outside of what gradient checkpointing can discard.
        reentrant: Gradient checkpointing is of the reentrant kind.
        loss: How the loss is computed where a run does not say.
        narrow_loss: Architectures whose logits stay in 16 bits.
        keeps_outputs: The training loop holds the model's outputs during the backward pass.
        keeps_last_outputs: It also holds those of the step before, as large as these, during the forward pass.
        fused_norm: Normalisations run in one kernel that keeps its 16-bit input only.
        fused_lora: Adapters on quantized linears run in one kernel for queries, keys and values.
        joined_qkv: One linear makes queries, keys and values for every architecture; the adapter's part is copied into
            zeros, and values stay a view of the whole.
        quantizes_head: The head is quantized like every other linear.
        quantizes_subclasses: Classes derived from a linear are quantized, too.
        loads_at_once: Before loading, one block as large as all weights is allocated and given back.
        dequantizes_float32: Weights are dequantized to float32 first, then cast.
        flash_repeats_kv: Architectures whose flash attention gets repeated keys and values.
        sdpa_gqa: sdpa takes grouped keys and values as they are when there is no mask.
        mask_bytes: Bytes an element of the attention mask that is made once a forward pass has.
        foreach_optimizer: ``adamw_torch`` computes with lists of tensors and needs a copy of one state.
        fused_experts: Experts are 3-D parameters.
        adapts_fused_experts: PEFT puts adapters on such parameters where all linears are asked for.
        fsdp_upcasts: Under mixed precision FSDP holds trained weights in float32.
        fsdp_frozen_hooks: FSDP's hooks on frozen layers keep every layer's input and its gradient in the backward pass.
        fsdp_adapters_whole: Adapters on quantized weights are not sharded.
        workspace_handles: Threads that hold a cuBLAS handle with its workspace.
        workspace: Bytes of one cuBLAS workspace before compute capability 9.0.
        workspace_hopper: Bytes from compute capability 9.0 on.
        lt_workspace: Bytes of the cuBLASLt workspace, 0 where it is shared or unused.
        empties_cache: The training loop empties the allocator's cache now and then.
        cuda: CUDA version, for the size of the context.
    """

    name: str
    title: str
    adapter_float32: bool = True
    adapter_float32_quantized: bool = True
    adapter_casts_input: bool = True
    adapter_clones_quantized: bool = True
    adapter_targets: tuple[str, ...] = ("all-linear",)
    norms_float32_quantized: bool = False
    embeddings_float32_quantized: bool = False
    bnb4_keeps_input: bool = False
    bnb8_keeps_input: bool = True
    reentrant: bool = False
    loss: str = "upcast"
    narrow_loss: tuple[str, ...] = ()
    keeps_outputs: bool = False
    keeps_last_outputs: bool = False
    fused_norm: bool = False
    fused_lora: bool = False
    joined_qkv: bool = False
    quantizes_head: bool = False
    quantizes_subclasses: bool = True
    loads_at_once: bool = False
    dequantizes_float32: bool = False
    flash_repeats_kv: tuple[str, ...] = ()
    sdpa_gqa: bool = True
    mask_bytes: int = 1
    foreach_optimizer: bool = True
    fused_experts: bool = True
    adapts_fused_experts: bool = False
    fsdp_upcasts: bool = True
    fsdp_frozen_hooks: bool = True
    fsdp_adapters_whole: bool = False
    workspace_handles: int = 2
    workspace: int = 8_519_680
    workspace_hopper: int = 33_554_432
    lt_workspace: int = 0
    empties_cache: bool = False
    cuda: str = "12.8"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a profile, with its source."""

    key: str
    value: Any
    source: str


def load(name: str = DEFAULT) -> Profile:
    """The profile of this name.

    Raises:
        UserError: There is none, or its file says something that no profile says.
    """
    return _load(name)


def names() -> tuple[str, ...]:
    """Every profile there is."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


@cache
def facts(name: str) -> tuple[Fact, ...]:
    """Everything a profile says, those it extends first, each with its source."""
    data = _read(name)
    base = facts(data["extends"]) if "extends" in data else ()
    own = tuple(Fact(item["key"], item["value"], item["source"]) for item in data.get("fact", ()))
    return base + own


@cache
def _load(name: str) -> Profile:
    known = {field.name for field in fields(Profile)} - {"name", "title"}
    values: dict[str, Any] = {}
    for fact in facts(name):
        if fact.key not in known or not fact.source:
            raise UserError(
                f"The stack profile says '{printable(fact.key, 40)}', which is unknown or has no source.",
                f"{printable(name, 40)}.toml",
                "Correct the file.",
            )
        values[fact.key] = tuple(fact.value) if isinstance(fact.value, list) else fact.value
    return Profile(name=name, title=_read(name)["title"], **values)


@cache
def _read(name: str) -> dict[str, Any]:
    path = _folder() / f"{name}.toml"
    if not name.replace("-", "").replace(".", "").replace("_", "").isalnum() or not path.is_file():
        raise UserError(
            f"There is no stack profile '{printable(name, 40)}'.",
            "presets/stack_profiles",
            f"Choose from {', '.join(names())}.",
        )
    return tomllib.loads(path.read_text("utf-8"))


def _folder() -> Path:
    return Path(presets.__path__[0], "stack_profiles")
