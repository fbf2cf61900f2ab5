"""How fast a run will be, from data sheets and the work of a step. An estimate: only a run on the machine measures it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import presets
from engine.fit.cards import find_card
from engine.fit.plan import make_plan
from engine.fit.profiles import DEFAULT, load
from engine.fit.static import adapter_elements, trained_weights
from engine.fit.types import DTYPE_BYTES, Architecture, TrainSetup
from engine.machine.model import Gpu, Host

# Share of the data sheet's speed that matrix products in a training step reach: published training runs of dense models
# report 30 to 50 % with tuned code. Narrow layers reach less, so the share is scaled by width / (width + 1,024).
_SHARE = 0.45
_HALF_WIDTH = 1024
_BANDWIDTH_SHARE = 0.65
# Seconds until the processor has handed one operation to the GPU, Python's part included; a floor for small models.
_LAUNCH = 10e-6
_OPERATIONS = 25  # of one layer's forward pass
_ADAPTER_OPERATIONS = 6  # of one adapted linear
_QUANTIZED_OPERATIONS = 3  # of one quantized linear
# bitsandbytes LLM.int8 rounds inputs to 8 bits and treats outliers apart; its authors report it slower than 16 bits.
_INT8_SLOWER = 1.6
# What several GPUs lose to waiting for each other, exchanging gradients and, sharded, weights.
_LOSS_ADAPTERS, _LOSS_FULL, _LOSS_SHARDED = 0.05, 0.15, 0.3
# A processor core computes some 16 float32 products a cycle at 2.5 GHz with AVX2, and about half of that in practice.
_CORE_FLOPS = 40e9
_HOST_BANDWIDTH = 15e9


@dataclass(frozen=True, slots=True)
class Device:
    """What computes.

    Attributes:
        name: For messages.
        flops: Products and sums a second in the run's number format, as the data sheet says.
        bandwidth: Bytes a second to and from its memory.
        rough: Nothing is published about it, so the figures are a rule of thumb.
    """

    name: str
    flops: float
    bandwidth: float
    is_gpu: bool
    rough: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Products and sums (two operations each) that one token costs, on average.

    Attributes:
        forward: Of one pass, without recomputation.
        training: Of forward and backward pass, recomputed layers included.
        weights: Elements of all matrices of the layers, which every pass reads whole.
        trained: Elements that the optimizer changes.
    """

    forward: float
    training: float
    weights: int
    trained: int


def device_of(gpu: Gpu | None, host: Host | None, dtype: str) -> Device | None:
    """The speed of a card or, without one, of the processor; None where nothing is known."""
    if gpu is None:
        if host is None:
            return None
        cores = min(host.cores_usable, host.cores_physical or host.cores_usable)
        return Device(
            f"{cores} processor cores", cores * _CORE_FLOPS / _SHARE, _HOST_BANDWIDTH, False, rough=True
        )
    card = find_card(gpu.name)
    entry = None if card is None else _entries().get(card.name)
    if entry is None:
        return None
    if "pcie" in gpu.name.lower():
        entry = entry.get("pcie", entry)
    key = "tflops_32bit" if dtype == "float32" else "tflops_16bit"
    share = _slice_share(gpu)
    return Device(gpu.name, 1e12 * entry[key] * share, 1e9 * entry["gb_per_s"] * share, True)


def work_of(architecture: Architecture, setup: TrainSetup, length: float) -> Work:
    """What a token costs in texts of this length.

    6 a weight in full training (2 forward, 2 for the input's gradient, 2 for the weight's), 4 where the weights are
    frozen and 6 for the adapter's; 2 more of the layers where gradient checkpointing recomputes them.
    """
    experts = architecture.experts
    active = weights = head = 0.0
    for linear in architecture.linears:
        size = linear.weights * linear.count
        if linear.part == "head":
            head += size
        elif linear.part != "vision":
            weights += size
            apart = linear.part == "expert" and experts is not None
            active += size * experts.top_k / experts.count if apart and experts is not None else size
    if experts is not None:
        weights += experts.fused_params
        active += experts.fused_params * experts.top_k / max(1, experts.count)
    head = head or architecture.vocab * architecture.hidden
    attention = _attention(architecture, length)
    plan = make_plan(architecture, setup, load(DEFAULT))
    adapters = adapter_elements(plan) if plan.adapts else 0
    forward = 2 * (active + head + adapters) + attention
    back = _share_gone_back_through(architecture, setup)
    backward = 2 * (back * active + head) + 4 * adapters + 2 * back * attention
    trained = adapters if plan.adapts else trained_weights(plan)
    if not plan.adapts:
        backward += 2 * (active + head) * min(1.0, trained / max(1, architecture.params))
    again = back * (2 * (active + adapters) + attention) if setup.gradient_checkpointing else 0.0
    return Work(forward, forward + backward + again, int(weights), trained)


def _share_gone_back_through(architecture: Architecture, setup: TrainSetup) -> float:
    """Of the layers: where only the last ones are trained, nothing goes back through those below."""
    if setup.tuning != "freeze":
        return 1.0
    return min(1.0, setup.trained_layers / max(1, architecture.layers))


def step_seconds(architecture: Architecture, setup: TrainSetup, device: Device, length: float) -> float:
    """Seconds of one batch on one device, its part of the optimizer step included.

    Args:
        architecture: The model.
        setup: The run.
        device: What computes.
        length: Tokens that the rows of a batch are padded to.
    """
    work = work_of(architecture, setup, length)
    passes = 1 + _share_gone_back_through(architecture, setup) * (2 if setup.gradient_checkpointing else 1)
    seconds = _passes(architecture, setup, device, work.training * setup.batch * length, work, passes)
    # AdamW reads and writes weight, gradient and two moments: some seven accesses an element.
    element = DTYPE_BYTES[setup.trained_dtype or setup.dtype]
    update = 7 * element * work.trained / (device.bandwidth * _BANDWIDTH_SHARE)
    seconds += update / setup.gradient_accumulation
    if setup.num_gpus > 1:
        whole = _LOSS_ADAPTERS if setup.tuning == "lora" else _LOSS_FULL
        seconds /= 1 - (_LOSS_SHARDED if setup.sharding == "fsdp" else whole)
    return seconds


def evaluation_seconds(architecture: Architecture, setup: TrainSetup, device: Device, length: float) -> float:
    """Seconds of one evaluation batch on one device: a forward pass."""
    work = work_of(architecture, setup, length)
    tokens = max(1, setup.eval_batch) * length
    return _passes(architecture, setup, device, work.forward * tokens, work, 1)


def _passes(
    architecture: Architecture, setup: TrainSetup, device: Device, flops: float, work: Work, passes: float
) -> float:
    width = architecture.hidden / (architecture.hidden + _HALF_WIDTH) if device.is_gpu else 1.0
    compute = flops / (device.flops * _SHARE * width)
    bandwidth = device.bandwidth * _BANDWIDTH_SHARE
    element = DTYPE_BYTES[setup.dtype]
    extra = 0.0
    if setup.quantization == "int8":
        compute *= _INT8_SLOWER
        element = 1
    elif setup.quantization != "none":
        # bitsandbytes writes every 4-bit weight out in 16 bits before each product.
        extra = passes * work.weights * (0.5 + element) / bandwidth
    reading = passes * work.weights * element / bandwidth
    launches = _launches(architecture, setup) * (1 if passes == 1 else passes + 1) * _LAUNCH
    return max(max(compute, reading) + extra, launches)


def _launches(architecture: Architecture, setup: TrainSetup) -> int:
    """Operations of one forward pass that the processor starts one by one."""
    linears = sum(item.count for item in architecture.linears if item.part in ("text", "expert"))
    per_linear = (_ADAPTER_OPERATIONS if setup.tuning == "lora" else 0) + (
        _QUANTIZED_OPERATIONS if setup.quantization != "none" else 0
    )
    return architecture.layers * _OPERATIONS + linears * per_linear


def _attention(architecture: Architecture, length: float) -> float:
    """Scores and weighted values of one token against all it may see, over the layers that attend."""
    whole = architecture.full_attention_layers or (
        0 if architecture.sliding_window else architecture.layers - architecture.linear_attention_layers
    )
    local = max(0, architecture.layers - whole - architecture.linear_attention_layers)
    width = architecture.heads * (architecture.head_dim + (architecture.value_dim or architecture.head_dim))
    return 2 * width * (whole * length + local * min(length, architecture.sliding_window or length))


def _slice_share(gpu: Gpu) -> float:
    """A MIG slice has so many sevenths of its card: ``1g.10gb`` has one."""
    found = re.search(r"\b([1-7])g\.", gpu.name) if gpu.mig_index is not None else None
    return int(found[1]) / 7 if found else 1.0


@cache
def _entries() -> dict[str, dict[str, Any]]:
    data = json.loads(Path(presets.__path__[0], "throughput.json").read_text("utf-8"))
    return {entry["name"]: entry for entry in data["cards"]}
