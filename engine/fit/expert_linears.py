"""The matrices inside a mixture of experts, as 3-D parameters or as linears."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from engine.fit.types import Architecture, Linear

# Architectures whose experts were 3-D parameters from their beginning.
_ALWAYS_FUSED = frozenset(
    ["gpt_oss", "llama4", "llama4_text", "granitemoe", "granitemoeshared", "granitemoehybrid", "dbrx"]
)

# peft utils/transformers_weight_conversion.py _MODEL_TO_CONVERSION_PATTERN: what is handled like Mixtral or Qwen2-MoE.
_ADAPTED = frozenset(
    ["mixtral", "minimax", "minimax_m2", "afmoe", "cohere2_moe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1",
     "ernie4_5_moe", "exaone_moe", "flex_olmo", "glm4_moe", "glm4_moe_lite", "glm4v_moe", "glm_moe_dsa", "hunyuan_v1_moe",
     "longcat_flash", "mellum", "olmoe", "qwen3_moe", "qwen3_next", "solar_open"]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExpertAdapter:
    """Two matrices beside a parameter of all experts of a layer.

    Attributes:
        part: Which parameter.
        in_features: Columns of the first matrix.
        out_features: Rows of the second.
        ranks: Rows of the first matrix, in multiples of the adapter's rank.
    """

    part: Literal["gate_up", "down", "router"]
    in_features: int
    out_features: int
    ranks: int

    def elements(self, rank: int) -> int:
        """Of both matrices."""
        return self.ranks * rank * (self.in_features + self.out_features)


def expert_adapters(architecture: Architecture, targets: Collection[str]) -> tuple[ExpertAdapter, ...]:
    """The adapters that PEFT puts on fused experts when their old linears, or all linears, are asked for.

    Gate and up are one parameter, so its rank is doubled; every expert has matrices of its own
    (peft utils/transformers_weight_conversion.py ``_convert_peft_config_moe``, tuners/lora/layer.py ``ParamWrapper``).
    """
    experts = architecture.experts
    if experts is None or not experts.fused_params or architecture.model_type not in _ADAPTED:
        return ()
    names = old_names(architecture)
    asked = {target.rpartition(".")[2] for target in targets}
    every = "all-linear" in asked
    hidden, width, found = architecture.hidden, experts.intermediate, []
    if every or {names[0], names[1]} <= asked:
        found.append(ExpertAdapter("gate_up", hidden, 2 * width, 2 * experts.count))
    if every or names[2] in asked:
        found.append(ExpertAdapter("down", width, hidden, experts.count))
    if every or "gate" in asked:
        found.append(ExpertAdapter("router", hidden, experts.count, 1))
    return tuple(found)


def old_names(architecture: Architecture) -> tuple[str, str, str]:
    """What gate, up and down of an expert are called where each is a linear."""
    if architecture.model_type in ("mixtral", "phimoe", "minimax"):
        return "w1", "w3", "w2"
    return "gate_proj", "up_proj", "down_proj"


def experts_apart(architecture: Architecture) -> Architecture:
    """The same model with a module of three linears for every expert, as transformers had it before version 5."""
    experts = architecture.experts
    if experts is None or not experts.fused_params or architecture.model_type in _ALWAYS_FUSED:
        return architecture
    names = old_names(architecture)
    hidden, width, count = architecture.hidden, experts.intermediate, experts.count * experts.layers
    linears = (
        Linear(names[0], hidden, width, count, part="expert"),
        Linear(names[1], hidden, width, count, part="expert"),
        Linear(names[2], width, hidden, count, part="expert"),
        Linear("gate", hidden, experts.count, experts.layers),
    )
    head = [linear for linear in architecture.linears if linear.part == "head"]
    others = [linear for linear in architecture.linears if linear.part != "head"]
    return replace(architecture, linears=(*others, *linears, *head), experts=replace(experts, fused_params=0))


def expert_weights(architecture: Architecture) -> tuple[int, ...]:
    """Elements of every matrix in the experts of one layer."""
    experts = architecture.experts
    if experts is None:
        return ()
    if experts.fused_params:
        each = experts.fused_params // max(1, experts.layers)
        return each * 2 // 3, each - each * 2 // 3
    return tuple(
        linear.weights
        for linear in architecture.linears
        if linear.part == "expert"
        for _ in range(linear.count // max(1, experts.layers))
    )
