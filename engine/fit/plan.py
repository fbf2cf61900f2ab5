"""A run as the memory arithmetic sees it: number formats, adapters and layers worked out from setup and stack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from engine.display import printable
from engine.errors import UserError
from engine.fit.expert_linears import ExpertAdapter, expert_adapters, experts_apart, old_names
from engine.fit.families import EAGER_ONLY, NO_SDPA, WIDE_ACTIVATIONS, role
from engine.fit.profiles import Profile
from engine.fit.types import DTYPE_BYTES, Architecture, Linear, TrainSetup

Backend = Literal["flash", "efficient", "eager", "math"]

# torch/aten/src/ATen/native/transformers/cuda/sdp_utils.cpp: check_head_dim_size_flash
_FLASH_HEAD_DIM = 256

_OWN_LINEARS = frozenset(["falcon"])  # modeling_falcon.py FalconLinear


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One kind of layer.

    Attributes:
        count: How many layers are of this kind.
        linears: Its linears by role; several with the role ``mixer_in``.
        attention: It has attention; otherwise a mixer of another kind.
        experts: Its feed-forward part is a mixture of experts.
        trained: Its weights are trained.
    """

    count: int
    linears: dict[str, Linear]
    mixer_in: tuple[Linear, ...]
    attention: bool
    experts: bool
    trained: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the arithmetic needs, in bytes and elements.

    Attributes:
        full: Weights are trained: those of the whole model, or of the layer at work.
        base: Bytes of one loaded weight that is not quantized.
        compute: Bytes of one element that a matrix multiplication reads.
        adapter: Bytes of one trained element (adapter, or every weight in full training).
        stream: Bytes of one element of the residual stream behind the first feed-forward part.
        targets: Names and input widths of linears with an adapter.
        backend: The attention kernel that really runs.
        masked: An attention mask is materialised.
        shapes: The kinds of layers.
        expert_adapters: Adapters on parameters of all experts of a layer.
    """

    architecture: Architecture
    setup: TrainSetup
    profile: Profile
    full: bool
    base: int
    compute: int
    adapter: int
    stream: int
    norms_float32: bool
    targets: frozenset[tuple[str, int]]
    backend: Backend
    masked: bool
    shapes: tuple[LayerShape, ...]
    expert_adapters: tuple[ExpertAdapter, ...] = ()

    @property
    def loss(self) -> str:
        """How the loss is computed; some architectures never cast their logits."""
        own = {"orpo": "orpo", "reward": "score"}.get(self.setup.objective)
        if own is not None and self.setup.loss is None:
            return own
        if self.setup.loss is None and self.architecture.model_type in self.profile.narrow_loss:
            return "shift"
        return self.setup.loss or self.profile.loss

    @property
    def adapts(self) -> bool:
        """Matrices beside the weights are trained, not the weights themselves."""
        return self.setup.tuning == "lora"

    def learns(self, shape: LayerShape) -> bool:
        """Gradients go through layers of this kind: those below the last layers, which alone are trained, see none."""
        return shape.trained or self.adapts

    def of_layer(self, trained: bool) -> Plan:
        """The plan as the weights of one layer see it; all layers are alike unless only the last ones are trained."""
        if trained == self.full:
            return self
        # What is trained in float32 beside 16-bit weights: norms that return float32 (LlamaRMSNorm multiplies by its weight).
        wide = self.norms_float32 or (trained and self.adapter == 4 and self.base == 2)
        return replace(self, full=trained, base=self.adapter if trained else self.base, norms_float32=wide)

    @property
    def quantized(self) -> bool:
        """The linears of the layers are held in 4 or 8 bits."""
        return self.setup.quantization != "none"

    @property
    def four_bit(self) -> bool:
        """They are held in 4 bits."""
        return self.setup.quantization in ("nf4", "fp4")

    @property
    def sharded(self) -> bool:
        """Weights are spread over the GPUs and gathered layer by layer."""
        return self.setup.sharding in ("fsdp", "zero3") and self.setup.num_gpus > 1

    @property
    def gathered(self) -> int:
        """Bytes of one weight as the computation sees it."""
        return self.compute if self.sharded else self.base

    def is_target(self, linear: Linear) -> bool:
        """This linear gets an adapter."""
        return self.adapts and linear.part != "head" and (linear.name, linear.in_features) in self.targets

    def is_quantized(self, linear: Linear) -> bool:
        """This linear is held in 4 or 8 bits; transformers leaves the head out (``get_keys_to_not_convert``)."""
        parts = ("text", "expert", "head") if self.profile.quantizes_head else ("text", "expert")
        return self.quantized and linear.part in parts and not self.unquantizable

    @property
    def unquantizable(self) -> bool:
        """The linears are of a class of their own, which this stack leaves as they are."""
        return not self.profile.quantizes_subclasses and self.architecture.model_type in _OWN_LINEARS

    def dequantized(self, linear: Linear) -> int:
        """Bytes of a quantized weight while it is multiplied."""
        return linear.weights * (self.compute + (4 if self.profile.dequantizes_float32 else 0))


def make_plan(architecture: Architecture, setup: TrainSetup, profile: Profile) -> Plan:
    """Work out number formats, adapters and kernels of a run.

    Raises:
        UserError: The model's sizes contradict each other.
    """
    if setup.objective == "reward":
        architecture = _scoring(architecture)
    if not profile.fused_experts:
        architecture = experts_apart(architecture)
    full, quantized = setup.tuning == "full", setup.quantization != "none"
    adapts = setup.tuning == "lora"
    on_experts: tuple[ExpertAdapter, ...] = ()
    if profile.adapts_fused_experts and adapts:
        on_experts = expert_adapters(architecture, setup.lora_targets or profile.adapter_targets)
    base = DTYPE_BYTES[setup.dtype]
    compute = 2 if setup.autocast else base
    sharded = setup.sharding == "fsdp" and setup.num_gpus > 1
    if sharded and setup.autocast and profile.fsdp_upcasts:
        adapter = 4
    elif setup.trained_dtype is not None:
        adapter = DTYPE_BYTES[setup.trained_dtype]
    elif not adapts:
        adapter = base
    else:
        wide = profile.adapter_float32_quantized if quantized else profile.adapter_float32
        adapter = 4 if wide else base
    if full:
        base = adapter
    norms_float32 = quantized and profile.norms_float32_quantized and setup.sharding not in ("fsdp", "zero3")
    wide = setup.dtype == "float32" or (full and base == 4 and not sharded)
    # Autocast runs layer_norm and some activations in float32, and a quantized linear returns what it was given.
    unquantizable = not profile.quantizes_subclasses and architecture.model_type in _OWN_LINEARS
    widened = architecture.norm == "layer" or architecture.activation in WIDE_ACTIVATIONS
    widened = widened and quantized and not unquantizable and setup.autocast
    stream = 4 if wide or norms_float32 or widened else 2
    masked = setup.masked
    return Plan(
        architecture,
        setup,
        profile,
        full,
        base,
        compute,
        adapter,
        stream,
        norms_float32,
        _targets(architecture, setup, profile, old_names(architecture) if on_experts else ()),
        _backend(
            architecture, setup, profile, 4 if norms_float32 and not setup.autocast else compute, masked
        ),
        masked,
        tuple(_consistent(shape, architecture) for shape in _shapes(architecture, setup)),
        on_experts,
    )


def _scoring(architecture: Architecture) -> Architecture:
    """The model with a score in place of its head (AutoModelForSequenceClassification)."""
    linears = tuple(linear for linear in architecture.linears if linear.part != "head")
    head = 0 if architecture.tied else architecture.vocab * architecture.hidden
    return replace(
        architecture, linears=linears, params=architecture.params - head + architecture.hidden, tied=True
    )


_ATTENTION_ROLES = frozenset(["q", "k", "v", "qkv", "o", "q_a", "kv_a", "kv_b", "mixer_in"])


def _targets(
    architecture: Architecture, setup: TrainSetup, profile: Profile, moved: tuple[str, ...]
) -> frozenset[tuple[str, int]]:
    """The linears that a list of names means, as PEFT reads it: by the end of the module's path.

    Names in ``moved`` mean parameters of experts, and linears of that name no longer.
    """
    if setup.tuning != "lora":
        return frozenset()
    asked = setup.lora_targets or profile.adapter_targets
    found = set()
    for linear in architecture.linears:
        if linear.part == "head" or linear.name in moved:
            continue
        in_attention = role(linear.name, linear.in_features, architecture.hidden) in _ATTENTION_ROLES
        for target in asked:
            parent, _, last = target.rpartition(".")
            fits = linear.name == last and (
                not parent or ("attn" in parent or "attention" in parent) == in_attention
            )
            if target == "all-linear" or fits:
                found.add((linear.name, linear.in_features))
    return frozenset(found)


def _backend(
    architecture: Architecture, setup: TrainSetup, profile: Profile, compute: int, masked: bool
) -> Backend:
    """The kernel behind ``attn_implementation``.

    sdpa takes flash attention only without a mask, in 16 bits and up to 256 a head, then the memory-efficient kernel
    (torch/aten/src/ATen/native/transformers/cuda/sdp_utils.cpp: use_flash_attention, use_mem_efficient_attention).
    """
    kind = architecture.model_type
    if kind in EAGER_ONLY or (kind in NO_SDPA and setup.attention != "flash_attention_2"):
        return "eager"
    if setup.attention == "eager" or architecture.softcap or architecture.attention_sinks:
        return (
            "flash"
            if setup.attention == "flash_attention_2" and not architecture.attention_sinks
            else "eager"
        )
    if setup.attention == "flash_attention_2":
        return "flash"
    uneven = architecture.value_dim not in (0, architecture.head_dim)
    if masked or compute == 4 or architecture.head_dim > _FLASH_HEAD_DIM or uneven:
        # The memory-efficient kernel has no grouped heads: left grouped, they end in the plain computation.
        grouped = architecture.kv_heads < architecture.heads and profile.sdpa_gqa and not masked
        return "math" if grouped and architecture.head_dim <= _FLASH_HEAD_DIM else "efficient"
    return "flash"


def _consistent(shape: LayerShape, architecture: Architecture) -> LayerShape:
    """The layer, if it has all that its computation needs.

    Raises:
        UserError: Sizes contradict each other, so that its linears cannot be told apart.
    """
    needed = {"o"} | ({"q", "kv_a"} if "kv_b" in shape.linears else set())
    if shape.attention and not shape.linears.keys() & {"q", "qkv"}:
        needed.add("q")
    if needed <= shape.linears.keys():
        return shape
    raise UserError(
        "The sizes of this model's layers contradict each other, so its memory cannot be predicted.",
        printable(architecture.name, 80),
        "Download its config.json again from the model's page.",
    )


def _shapes(architecture: Architecture, setup: TrainSetup) -> Iterator[LayerShape]:
    """The layers, alike ones together, each with its own linears.

    Counts of linears say how many layers have them, not which; the pairing of attention and feed-forward widths is
    therefore arbitrary, which changes no sum.
    """
    layers = architecture.layers
    by_role: dict[str, list[Linear]] = {}
    mixers: list[Linear] = []
    for linear in architecture.linears:
        if linear.part != "text":
            continue
        does = role(linear.name, linear.in_features, architecture.hidden)
        if does == "mixer_in":
            mixers.append(linear)
        elif does in ("q", "k", "v", "o", "qkv", "q_a", "kv_a", "kv_b", "gate", "up", "down", "gate_up"):
            by_role.setdefault(does, []).append(linear)
    experts = architecture.experts.layers if architecture.experts else 0

    def linear_of(does: str, layer: int, reverse: bool) -> Linear | None:
        position = layers - 1 - layer if reverse else layer
        for linear in by_role.get(does, ()):
            if position < linear.count:
                return linear
            position -= linear.count
        return None

    trained_layers = {"full": layers, "freeze": min(layers, setup.trained_layers), "lora": 0}[setup.tuning]
    mixer_layers = min(layers, max((linear.count for linear in mixers), default=0))

    def shape(layer: int) -> tuple[bool, bool, bool, tuple[tuple[str, Linear], ...]]:
        attention = layer >= mixer_layers
        roles = {
            does: found
            for does in by_role
            if (attention or does not in ("q", "k", "v", "qkv"))
            and (found := linear_of(does, layer, does in ("q", "k", "v", "qkv") and mixer_layers > 0))
            is not None
        }
        sorted_roles = tuple(sorted(roles.items(), key=lambda item: item[0]))
        return layer >= layers - trained_layers, attention, layer >= layers - experts, sorted_roles

    for (trained, attention, has_experts, roles), group in groupby(range(layers), key=shape):
        count = sum(1 for _ in group)
        yield LayerShape(
            count, dict(roles), () if attention else tuple(mixers), attention, has_experts, trained
        )
