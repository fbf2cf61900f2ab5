"""What is in memory the whole time: weights, scales of quantized weights, adapters, optimizer states."""

from __future__ import annotations

from dataclasses import dataclass

from engine.fit.allocator_config import LARGE_BUFFER, MIN_LARGE_ALLOC, ROUND_LARGE, SMALL_SIZE
from engine.fit.plan import Plan
from engine.fit.tape import GRANULE
from engine.fit.types import Linear

WEIGHTS = "weights"
REFERENCE = "weights of the model to compare with"
QUANTIZED = "quantized weights"
SCALES = "scales of the quantized weights"
ADAPTERS = "adapters"
OPTIMIZER = "optimizer states"

# bitsandbytes functional.py quantize_4bit: blocks of 64, their scales again in blocks of 256.
_BLOCK, _NESTED_BLOCK = 64, 256
# bitsandbytes optim/optimizer.py: min_8bit_size, block size of the states, smallest paged tensor.
_MIN_8BIT, _STATE_BLOCK, _MIN_PAGED = 4096, 256, 100_000


@dataclass(frozen=True, slots=True)
class Static:
    """Bytes on one GPU.

    Attributes:
        weights: Everything that is not quantized and not an adapter.
        reference: The frozen copy that preference training compares with.
        quantized: Packed weights.
        scales: Of the packed weights; never sharded.
        adapters: Added matrices.
        trained: Elements that are trained, over all GPUs.
        trained_here: Those of them on this GPU.
        states: Optimizer states on the GPU.
        paged: Optimizer states that may be moved to host memory.
        step_copy: What the optimizer step needs beside the states.
        root_unit: Embedding, last normalisation and head as gathered, under sharding.
        unit: One layer as gathered for computing, under sharding.
    """

    weights: int
    reference: int
    quantized: int
    scales: int
    adapters: int
    trained: int
    trained_here: int
    states: int
    paged: int
    step_copy: int
    root_unit: int
    unit: int

    def parts(self) -> dict[str, int]:
        """By name, without empty ones."""
        named = {
            WEIGHTS: self.weights,
            REFERENCE: self.reference,
            QUANTIZED: self.quantized,
            SCALES: self.scales,
            ADAPTERS: self.adapters,
            OPTIMIZER: self.states,
        }
        return {name: size for name, size in named.items() if size}


def adapter_elements(plan: Plan) -> int:
    """Elements of all added matrices, magnitudes included."""
    rank = plan.setup.lora_r
    total = 0
    for linear in plan.architecture.linears:
        if plan.is_target(linear):
            total += linear.count * (
                rank * (linear.in_features + linear.out_features)
                + (linear.out_features if plan.setup.dora else 0)
            )
    experts = plan.architecture.experts
    layers = experts.layers if experts is not None else 0
    return total + layers * sum(item.elements(rank) for item in plan.expert_adapters)


def measure(plan: Plan) -> Static:
    """Count everything exactly."""
    arch, setup = plan.architecture, plan.setup
    sharded = setup.num_gpus if setup.sharding in ("fsdp", "zero3") else 1
    packed = scales = replaced = 0
    for linear in arch.linears:
        if plan.is_quantized(linear):
            one, one_scales = _quantized_bytes(plan, linear)
            packed += one * linear.count
            scales += one_scales * linear.count
            replaced += linear.weights * linear.count
    rest = max(0, arch.params - replaced)
    element = plan.base
    weights = rest * element
    if plan.norms_float32:
        weights += arch.norm_params * (4 - min(4, element))
    if plan.quantized and plan.profile.embeddings_float32_quantized:
        weights += (rest - arch.norm_params) * (4 - element)

    whole_adapters = plan.profile.fsdp_adapters_whole and plan.quantized and sharded > 1
    adapter_element = (
        2 if whole_adapters else plan.adapter
    )  # the sharded load leaves them in the model's format
    adapters = adapter_elements(plan) if plan.adapts else 0
    saved_modules = _saved_modules(plan)
    trained = adapters + saved_modules if plan.adapts else trained_weights(plan)
    if not plan.adapts and not plan.full:
        weights += trained * (plan.adapter - element)
    split = 1 if whole_adapters else sharded
    trained_here = -(-trained // split)
    states, paged, copy = _optimizer(plan, trained_here, adapter_element)
    if setup.sharding in ("zero1", "zero2", "zero3"):
        # deepspeed bf16_optimizer.py, stage_1_and_2.py: float32 weights and both moments, cut into one part a GPU.
        states, paged, copy = 12 * -(-trained // setup.num_gpus), 0, 0
    gathered = 2 if setup.autocast else element
    layer = (arch.params - _root_elements(plan)) // max(1, arch.layers)
    unit = layer * gathered
    if plan.quantized:
        unit = packed // max(1, arch.layers)
    if sharded == 1:
        weights += sum(
            _absorbed(linear.weights * element, linear.count)
            for linear in arch.linears
            if not plan.is_quantized(linear) and linear.part != "head"
        )
        packed += sum(
            _absorbed(_quantized_bytes(plan, linear)[0], linear.count)
            for linear in arch.linears
            if plan.is_quantized(linear)
        )
    return Static(
        weights=-(-weights // sharded),
        # trl dpo_trainer.py: create_model_from_path in the format of the model itself, prepared like it
        reference=-(-arch.params * plan.base // sharded) if setup.reference else 0,
        quantized=-(-packed // sharded),
        scales=scales,
        adapters=-(-adapters * adapter_element // split) + saved_modules * plan.adapter // sharded,
        trained=trained,
        trained_here=trained_here,
        states=states,
        paged=paged,
        step_copy=copy,
        root_unit=_root_elements(plan) * gathered if sharded > 1 else 0,
        unit=unit if sharded > 1 else 0,
    )


def trained_weights(plan: Plan) -> int:
    """Elements of the model's own weights that are trained; with ``freeze`` its last layers and the norm after them."""
    if plan.full:
        return plan.architecture.params
    return sum(item.elements * item.count for item in trained_tensors(plan))


def _root_elements(plan: Plan) -> int:
    arch = plan.architecture
    head = 0 if arch.tied else arch.vocab * arch.hidden
    return arch.embedding_params + head + arch.hidden


def _saved_modules(plan: Plan) -> int:
    arch = plan.architecture
    return sum(
        arch.embedding_params if "embed" in name or name in ("wte",) else arch.vocab * arch.hidden
        for name in plan.setup.modules_to_save
    )


def _quantized_bytes(plan: Plan, linear: Linear) -> tuple[int, int]:
    """Packed weight and scales of one quantized linear."""
    elements = linear.weights
    if plan.four_bit:
        blocks = -(-elements // _BLOCK)
        tables = _rounded(16 * 4)
        if plan.setup.double_quant:
            nested = -(-blocks // _NESTED_BLOCK)
            return _rounded(-(-elements // 2)), _rounded(blocks) + _rounded(
                4 * nested
            ) + tables + 2 * GRANULE + 512
        return _rounded(-(-elements // 2)), _rounded(4 * blocks) + tables
    return _rounded(elements), _rounded(4 * linear.out_features)


def _absorbed(size: int, count: int) -> int:
    """Ends of segments that are too short to be split off, and count as allocated with the last block in them.

    CUDACachingAllocator.cpp: blocks of 10 MiB and more have a segment rounded up to 2 MiB of their own, smaller ones
    share 20 MiB; a rest of up to 1 MiB is not split off (should_split).
    """
    if size <= SMALL_SIZE:
        return 0
    if size >= MIN_LARGE_ALLOC:
        rest, blocks = -size % ROUND_LARGE, count
    else:
        together = LARGE_BUFFER // size
        rest, blocks = LARGE_BUFFER - together * size, count // together
    return rest * blocks if rest <= SMALL_SIZE else 0


@dataclass(frozen=True, slots=True)
class Trained:
    """Tensors of one shape that are trained."""

    rows: int
    columns: int
    count: int
    embedding: bool = False

    @property
    def elements(self) -> int:
        """Elements of one of them."""
        return self.rows * self.columns


def trained_tensors(plan: Plan) -> list[Trained]:
    """What the optimizer works on; vectors have one row. Under sharding each GPU has its share of each."""
    arch, rank = plan.architecture, plan.setup.lora_r
    found: list[Trained] = []
    if plan.adapts:
        for linear in arch.linears:
            if plan.is_target(linear):
                found += [
                    Trained(rank, linear.in_features, linear.count),
                    Trained(linear.out_features, rank, linear.count),
                ]
        for item in plan.expert_adapters:
            assert arch.experts is not None
            found += [
                Trained(item.ranks * rank, item.in_features, arch.experts.layers),
                Trained(item.out_features, item.ranks * rank, arch.experts.layers),
            ]
        for name in plan.setup.modules_to_save:
            found.append(Trained(arch.vocab, arch.hidden, 1, embedding="embed" in name or name == "wte"))
        return found
    if not plan.full:
        return _last_layers(plan)
    width = max(1, arch.embedding_params // max(1, arch.vocab))
    found.append(Trained(arch.embedding_params // width, width, 1, embedding=True))
    found += [
        Trained(linear.out_features, linear.in_features, linear.count)
        for linear in arch.linears
        if linear.part != "head" or not arch.tied
    ]
    if arch.experts is not None and arch.experts.fused_params:
        experts, layers = arch.experts, arch.experts.layers
        each = experts.fused_params // max(1, layers)
        rows = experts.count * arch.hidden
        found.append(Trained(rows, each // max(1, rows), layers))
    rest = arch.params - sum(item.elements * item.count for item in found)
    vectors = max(1, arch.layers * arch.norms_per_layer)
    if rest > 0:
        found.append(Trained(1, -(-rest // vectors), vectors))
    return found


def _last_layers(plan: Plan) -> list[Trained]:
    """What `engine.train.tuning.freeze` trains."""
    arch, found, layers = plan.architecture, [], 0
    for shape in plan.shapes:
        if not shape.trained:
            continue
        layers += shape.count
        for linear in (*shape.linears.values(), *shape.mixer_in):
            found.append(Trained(linear.out_features, linear.in_features, shape.count))
            if linear.bias:
                found.append(Trained(1, linear.out_features, shape.count))
        if shape.experts and arch.experts is not None:
            experts, hidden = arch.experts, arch.hidden
            each = experts.fused_params // max(1, experts.layers)
            found.append(Trained(experts.count * hidden, each // max(1, experts.count * hidden), shape.count))
            found.append(Trained(experts.count, hidden, shape.count))  # the router
    last = arch.hidden * (2 if arch.norm == "layer" else 1)
    each = max(0, arch.norm_params - last) // max(1, arch.layers * arch.norms_per_layer)
    found.append(Trained(1, each, layers * arch.norms_per_layer))
    found.append(Trained(1, last, 1))
    return [item for item in found if item.elements * item.count]


def num_states(optimizer: str) -> int:
    """Tensors as large as the weight that an optimizer keeps: two moments for Adam, one for Lion and RMSprop."""
    if optimizer.startswith(("sgd", "adafactor", "lomo", "adalomo")):
        return 0
    return 1 if "lion" in optimizer or "rmsprop" in optimizer else 2


def moment_bytes(plan: Plan, tensor: Trained) -> int:
    """Bytes of one of the states an optimizer keeps for one tensor on the GPU."""
    name = plan.setup.optimizer
    if not num_states(name) or name.startswith("paged"):
        return 0
    if "4bit" in name and tensor.elements >= _MIN_8BIT:
        return tensor.elements // 2
    if "8bit" in name and not tensor.embedding and tensor.elements >= _MIN_8BIT:
        return tensor.elements
    return tensor.elements * (4 if "8bit" in name else plan.adapter)


def _optimizer(plan: Plan, trained: int, element: int) -> tuple[int, int, int]:
    """States on the GPU, states that may be paged out, and temporaries of the step."""
    name = plan.setup.optimizer
    if "8bit" in name:
        return _eight_bit(plan, "paged" in name)
    if name.startswith("adafactor"):
        return _adafactor(plan, element)
    if not num_states(name):
        return 0, 0, 0
    if "4bit" in name:
        # torchao optim/subclass_4bit.py: two numbers a byte, a float32 scale for 128, small tensors in 16 bits
        return num_states(name) * (trained // 2 + 4 * -(-trained // 128)), 0, 0
    ends = 0
    if not plan.sharded:
        ends = sum(_absorbed(item.elements * element, item.count) for item in trained_tensors(plan))
    states = num_states(name) * (element * trained + ends)
    fused = "fused" in name or "bnb" in name or "apex" in name
    if name.startswith("paged"):
        return 0, states, 0
    copy = 0 if fused or not plan.profile.foreach_optimizer else element * trained + ends
    return states, 0, copy


def _eight_bit(plan: Plan, paged: bool) -> tuple[int, int, int]:
    """bitsandbytes: small tensors keep 32-bit states, and so do embeddings (transformers trainer.py)."""
    shards = plan.setup.num_gpus if plan.sharded else 1
    here = there = 0
    count = num_states(plan.setup.optimizer)
    for item in trained_tensors(plan):
        elements = item.elements // shards
        if item.embedding or elements < _MIN_8BIT:
            states, scales = 4 * count * elements * item.count, 0
        else:
            states = count * elements * item.count
            scales = count * 4 * -(-elements // _STATE_BLOCK) * item.count
        if paged and elements >= _MIN_PAGED:
            there += states
        else:
            here += states
        here += scales
    return here, there, 0


def _adafactor(plan: Plan, element: int) -> tuple[int, int, int]:
    # transformers optimization.py Adafactor.step: a sum for every row and column; in float32 the gradient, the weight
    # (unless they are that already), the update, its negative, and until it is replaced the update of the one before.
    shards = plan.setup.num_gpus if plan.sharded else 1
    copies = 2 if element < 4 else 0
    states = step = previous = 0
    for item in trained_tensors(plan):
        vector = item.rows == 1
        states += 4 * item.count * (item.elements if vector else item.rows + item.columns) // shards
        if not vector:
            step = max(step, 4 * ((copies + 2) * item.elements + previous) // shards)
            previous = item.elements
            if item.count > 1:
                # Layers follow each other, so some tensor of nearly this size comes right before it.
                step = max(step, 4 * (copies + 3) * item.elements // shards)
    return states, 0, step


def _rounded(size: int) -> int:
    return -(-size // GRANULE) * GRANULE
