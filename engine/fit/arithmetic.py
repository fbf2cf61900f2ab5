"""The instant prediction: the heaviest moment of each phase, by arithmetic. No torch, a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.fit.generation import generating
from engine.fit.head import LOGITS, Head
from engine.fit.layer import run_layer
from engine.fit.maker import CHECKPOINTS, GRADIENTS, STREAM, Maker, Tensor
from engine.fit.plan import LayerShape, Plan
from engine.fit.projection import outliers
from engine.fit.static import Static
from engine.fit.tape import Tape, Value

WORKSPACE = "workspaces of the matrix library"
INPUTS = "token ids, masks and positions"
CASTS = "16-bit copies of adapters"
GATHERED = "gathered weights of the layer at work"
BUCKETS = "buckets in which the GPUs exchange gradients"
STEP = "temporaries of the optimizer step"
Parts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Moments:
    """The heaviest moment of every phase, by parts."""

    load: Parts
    loss: Parts
    backward: Parts
    optimizer: Parts
    evaluation: Parts | None
    save: Parts
    steady: Parts
    generation: Parts | None = None


def moments(plan: Plan, static: Static, workspace: int) -> Moments:
    """Work out every phase.

    Args:
        plan: The run.
        static: What is there the whole time.
        workspace: Bytes of the matrix library's workspaces.
    """
    resident = {**static.parts(), WORKSPACE: workspace}
    if plan.setup.sharding == "ddp" and plan.setup.num_gpus > 1:
        # torch/csrc/distributed/c10d/reducer.cpp: gradients are copied into buckets of the same size together.
        resident[BUCKETS] = static.trained * plan.adapter
    gradients = 0 if plan.setup.optimizer_in_backward else _gradients(plan, static)
    accumulating = plan.setup.gradient_accumulation > 1
    base = {**resident, INPUTS: _inputs(plan)}
    casts = {CASTS: autocast_copies(plan, static)}
    if accumulating and gradients:
        base[GRADIENTS] = gradients
    if plan.setup.gradient_checkpointing:
        loss, backward = _checkpointed(plan, static, base, casts, gradients, accumulating)
    else:
        loss, backward = _remembered(plan, static, _sum(base, casts), gradients, accumulating)
    optimizer = {**resident, GRADIENTS: gradients, STEP: static.step_copy}
    if plan.setup.optimizer_in_backward:
        optimizer = {**resident, GRADIENTS: _largest_gradient(plan)}
    evaluation = None
    if plan.setup.eval_batch > 0:
        evaluation = _evaluation(plan, static, resident)
    steady = {**resident, **({GRADIENTS: gradients} if plan.sharded else {})}
    return Moments(
        load=_load(plan, static),
        loss=loss,
        backward=backward,
        optimizer=_clean(optimizer),
        evaluation=evaluation,
        save=_clean({**resident, GATHERED: static.root_unit + static.unit}),
        steady=_clean(steady),
        generation=generating(plan, resident),
    )


def _largest_gradient(plan: Plan) -> int:
    return plan.adapter * max((linear.weights for linear in plan.architecture.linears), default=0)


def _gradients(plan: Plan, static: Static) -> int:
    element = plan.adapter
    if plan.adapts and plan.sharded and plan.quantized and plan.profile.fsdp_adapters_whole:
        element = 2
    return static.trained_here * element


def autocast_copies(plan: Plan, static: Static) -> int:
    """Bytes of the casts of trained adapters that autocast keeps during the forward pass."""
    # autocast_mode.cpp cached_cast: casts of float32 weights that are trained stay until the forward pass is over.
    fused = plan.profile.fused_lora and plan.quantized
    if not plan.adapts or not plan.setup.autocast or plan.adapter != 4 or plan.sharded or fused:
        return 0
    return 2 * static.trained


def _inputs(plan: Plan) -> int:
    setup, arch = plan.setup, plan.architecture
    ids = 3 * 8 * setup.tokens
    # Positions of a line of its own each, or the same for all rows.
    rotations = 2 * setup.seq_len * (setup.batch if setup.lines else 1) * arch.head_dim * plan.compute
    mask = plan.profile.mask_bytes * setup.batch * setup.seq_len * setup.seq_len
    return ids + rotations + (mask if plan.masked and plan.backend != "flash" else 0)


def _checkpointed(
    plan: Plan, static: Static, base: Parts, casts: Parts, gradients: int, accumulating: bool
) -> tuple[Parts, Parts]:
    hidden, tokens = plan.architecture.hidden, plan.setup.tokens
    learning = [shape for shape in plan.shapes if plan.learns(shape)]
    layers = sum(shape.count for shape in learning)
    inner = tokens * hidden * plan.stream
    # Frozen layers below the trained ones are no part of autograd's graph: nothing of them is kept or recomputed.
    first = tokens * hidden * embedded_element(plan) if layers == plan.architecture.layers else inner
    kept = first + (layers - 1) * inner
    if plan.setup.offload_checkpoints:
        kept = 0
    leaks = _int8_inputs(plan)
    root = {GATHERED: static.root_unit} if static.root_unit else {}

    tape = Tape(_sum(base, {CHECKPOINTS: kept}, leaks, root, casts))
    maker = Maker(tape, plan, accumulating)
    loss, top_gradients = _loss_phase(tape, maker, plan, inner)

    heaviest: Parts = {}
    behind = 0  # layers that were already worked on
    gathered = top_gradients
    for shape in reversed(learning):
        element = plan.stream if shape is not plan.shapes[0] or shape.count > 1 else embedded_element(plan)
        tape = Tape(dict(base))
        maker = Maker(tape, plan, accumulating)
        own = _layer_backward(tape, maker, shape, element, plan.profile.reentrant)
        tape_parts = tape.parts
        each = 0 if accumulating else _gathered_grads(plan, static, own)
        for position in {0, shape.count - 1}:  # the first of its kind to be worked on, and the last
            done = behind + position
            below = layers - done - 1  # layers whose input is still needed, but not yet worked on
            extra: Parts = {CHECKPOINTS: inner + max(0, below) * inner - (inner - first if below else 0)}
            if below == 0 or plan.setup.offload_checkpoints:
                extra[CHECKPOINTS] = first
            if not accumulating:
                extra[GRADIENTS] = min(gradients, gathered + position * each)
            if plan.sharded:
                # _runtime_utils.py _prefetch_handle skips a layer without pre-backward hooks, and inside reentrant
                # checkpoints the next layer has none yet.
                units = 2 if below and not plan.profile.reentrant else 1
                extra[GATHERED] = static.root_unit + units * static.unit
                if plan.profile.fsdp_frozen_hooks and not plan.full and done:
                    # register_multi_grad_hook holds AccumulateGrad of every layer's input, hence input and gradient;
                    # the last of these gradients is the one handed to this layer.
                    extra[CHECKPOINTS] += 2 * done * inner - tokens * hidden * element
            extra = _sum(extra, {kind: size * (below + 1) // max(1, layers) for kind, size in leaks.items()})
            candidate = _sum(tape_parts, extra)
            if plan.setup.optimizer_in_backward:
                candidate[GRADIENTS] = min(candidate.get(GRADIENTS, 0), _largest_gradient(plan))
            if sum(candidate.values()) > sum(heaviest.values()):
                heaviest = candidate
        behind += shape.count
        gathered += shape.count * each
    last = _embedding_backward(plan, base, gradients, first, root, accumulating)
    return _clean(loss), _clean(max(heaviest, last, key=lambda parts: sum(parts.values())))


def _embedding_backward(
    plan: Plan, base: Parts, gradients: int, incoming: int, root: Parts, accumulating: bool
) -> Parts:
    """The very end of the backward pass, where the embedding's gradient is made.

    A matrix that is also the head has a gradient already; the second one is added to it (input_buffer.cpp).
    """
    if not plan.full:
        return {}
    dense = plan.architecture.embedding_params * plan.gathered
    parts = _sum(base, root, {"gradients of activations": incoming})
    if not accumulating:
        parts = _sum(parts, {GRADIENTS: gradients})
    # A model that scores answers has no head whose gradient could be there before.
    shared = plan.architecture.tied and plan.setup.objective != "reward"
    if shared or accumulating:
        parts = _sum(parts, {"temporary": dense})
    if plan.setup.optimizer_in_backward:
        parts[GRADIENTS] = dense
    return parts


def _gathered_grads(plan: Plan, static: Static, each: int) -> int:
    """Bytes of a layer's gradients that stay on this GPU."""
    if plan.sharded:
        shard = max(1, plan.setup.num_gpus)
        return each // shard * plan.adapter // max(1, plan.gathered if plan.full else plan.adapter)
    return each


def _loss_phase(tape: Tape, maker: Maker, plan: Plan, size: int) -> tuple[Parts, int]:
    """The head and its backward pass on this tape; its parts, and the bytes of gradients it left."""
    tape.start_phase()
    if (
        plan.profile.keeps_outputs
    ):  # what the last step returned is still held when the next one computes its own
        tape.add({LOGITS: output_bytes(plan)})
    buffer = tape.new(size, STREAM)
    x = Tensor(tape.leaf(buffer, size), plan.stream)
    tape.drop(buffer)
    before = tape.live.get(GRADIENTS, 0)
    start = len(tape.operations)
    loss, held = Head(maker).forward(x, plan.loss)
    if plan.profile.keeps_last_outputs:
        tape.add({LOGITS: -output_bytes(plan)})
    if not plan.profile.keeps_outputs:
        tape.release(*held)
    tape.backward(loss, tape.new(max(4, loss.grad_size), LOGITS), start)
    tape.release(loss)
    return tape.parts, tape.live.get(GRADIENTS, 0) - before


def _layer_backward(tape: Tape, maker: Maker, shape: LayerShape, element: int, reentrant: bool) -> int:
    """Recompute one layer and go back through it; returns the bytes of gradients it left."""
    size = maker.tokens * maker.plan.architecture.hidden * element
    outside = Tape()
    x = Tensor(Value(outside.new(0, STREAM), size, True), element)
    before = tape.live.get(GRADIENTS, 0)
    result = run_layer(maker, shape, x)
    grad = tape.new(result.value.grad_size, "gradients of activations")
    if (
        reentrant
    ):  # CheckpointFunction.backward holds the recomputed output and the incoming gradient to its end
        tape.hold(grad)
    else:
        tape.release(result.value)
    tape.backward(result.value, grad)
    return tape.live.get(GRADIENTS, 0) - before


def _remembered(
    plan: Plan, static: Static, base: Parts, gradients: int, accumulating: bool
) -> tuple[Parts, Parts]:
    """Without gradient checkpointing: every layer keeps what its backward pass needs."""
    hidden, tokens = plan.architecture.hidden, plan.setup.tokens
    tape = Tape(_sum(base, {GATHERED: static.root_unit} if static.root_unit else {}))
    maker = Maker(tape, plan, accumulating)
    element = embedded_element(plan)
    size = tokens * hidden * element
    # Frozen layers below the trained ones are no part of autograd's graph.
    x = Tensor(Value(tape.new(size, STREAM), size, plan.full or plan.adapts), element)
    kept_total = 0
    last_start = last_kept = 0
    counts = [(shape, shape.count) for shape in plan.shapes]
    if element != plan.stream:  # the first layer still reads what the embedding gives
        counts = [(plan.shapes[0], 1), (plan.shapes[0], plan.shapes[0].count - 1), *counts[1:]]
    for shape, count in counts:
        if count == 0:
            continue
        before, last_start = dict(tape.live), len(tape.operations)
        result = run_layer(maker, shape, x)
        tape.release(x.value)
        x = result
        kept = {
            kind: held - before.get(kind, 0)
            for kind, held in tape.live.items()
            if held != before.get(kind, 0)
        }
        last_kept = sum(kept.values())
        tape.add(kept, count - 1)
        kept_total += last_kept * count
    loss_start = len(tape.operations)
    tape.start_phase()
    out = x
    if plan.profile.keeps_last_outputs:
        tape.add({LOGITS: output_bytes(plan)})
    loss, held = Head(maker).forward(out, plan.loss)
    if plan.profile.keeps_last_outputs:
        tape.add({LOGITS: -output_bytes(plan)})
    if not plan.profile.keeps_outputs:
        tape.release(*held)
    tape.backward(loss, tape.new(max(4, loss.grad_size), LOGITS), loss_start)
    tape.release(loss)
    loss_parts = dict(tape.parts)
    tape.start_phase()
    so_far = tape.live.get(GRADIENTS, 0)
    tape.resume(last_start)
    top = dict(tape.parts)
    if plan.sharded:
        top = _sum(top, {GATHERED: 2 * static.unit})
    if accumulating:
        return _clean(loss_parts), _clean(top)
    # At the first layer everything else that was kept is gone, and all gradients are there.
    bottom = _sum(top, {GRADIENTS: max(0, gradients - so_far - _largest_layer(plan) * plan.adapter)})
    others = kept_total - last_kept
    for kind in sorted(bottom, key=lambda kind: -bottom[kind]):
        if kind in static.parts() or kind in (GRADIENTS, WORKSPACE, INPUTS):
            continue
        taken = min(others, bottom[kind])
        bottom[kind] -= taken
        others -= taken
    root = {GATHERED: static.root_unit} if static.root_unit else {}
    last = _embedding_backward(plan, base, gradients, size, root, accumulating)
    heaviest = max(top, bottom, last, key=lambda parts: sum(parts.values()))
    return _clean(loss_parts), _clean(heaviest)


def _largest_layer(plan: Plan) -> int:
    arch = plan.architecture
    if plan.adapts:
        return 0
    return (arch.params - arch.embedding_params) // max(1, arch.layers)


# Linears that read the same tensor.
_READ_TOGETHER = {"q": "in", "k": "in", "v": "in", "qkv": "in", "gate": "mid", "up": "mid", "gate_up": "mid"}


def _int8_inputs(plan: Plan) -> Parts:
    sizes = sum(shape.count * sum(int8_kept(plan, shape)) for shape in plan.shapes)
    return {"inputs of the 8-bit layers": sizes} if sizes else {}


def int8_kept(plan: Plan, shape: LayerShape) -> list[int]:
    """Bytes of what the 8-bit linears of one layer keep although layers are recomputed.

    bitsandbytes MatMul8bitLt stores its input and the input's outliers as ``ctx.tensors``, which the hooks of
    non-reentrant checkpointing do not see (torch/utils/checkpoint.py, saved_tensors_hooks).
    """
    plain = plan.setup.quantization == "int8" and plan.profile.bnb8_keeps_input
    if not plain or plan.profile.reentrant or not plan.setup.gradient_checkpointing:
        return []
    arch, inputs, tokens = plan.architecture, {}, plan.setup.tokens
    columns = []
    for does, linear in shape.linears.items():
        if not plan.is_quantized(linear):
            continue
        read = _READ_TOGETHER.get(does, does)
        element = plan.compute if does == "o" else plan.stream
        inputs[read] = tokens * linear.in_features * element
        columns.append(element * outliers(linear, tokens))
    if arch.parallel_layer and arch.norms_per_layer == 1:
        inputs.pop("mid", None)
    if arch.post_norm:
        inputs.pop("in", None)  # that is the layer's input, which is kept anyway
    return [*inputs.values(), *columns]


def evaluating(plan: Plan) -> Plan:
    """The same run while it evaluates."""
    setup = plan.setup
    length = setup.eval_seq_len or setup.seq_len
    # Rows are padded in evaluation, also where they share lines in training.
    setup = replace(setup, batch=setup.eval_batch, seq_len=length, gradient_checkpointing=False, lines=False)
    return replace(plan, setup=setup, masked=setup.masked)


def _evaluation(plan: Plan, static: Static, resident: Parts) -> Parts:
    plan = evaluating(plan)
    setup = plan.setup
    size = setup.tokens * plan.architecture.hidden * plan.stream
    # The embeddings stay until the last layer is through (the model's forward still names them).
    tape = Tape(_sum(resident, {INPUTS: _inputs(plan), STREAM: size}), learning=False)
    maker = Maker(tape, plan)
    for shape in plan.shapes:
        x = Tensor(Value(tape.new(size, STREAM), size, False), plan.stream)
        result = run_layer(maker, shape, x)
        tape.release(x.value, result.value)
    if setup.eval_keeps_logits:
        rows = max(setup.max_eval_rows, setup.batch) * setup.seq_len
        tape.add({"logits gathered by the evaluation": rows * plan.architecture.vocab * 4})
    x = Tensor(Value(tape.new(size, STREAM), size, False), plan.stream)
    loss, held = Head(maker).forward(x, plan.loss)
    tape.release(loss, *held)
    return _clean(_sum(tape.parts, {GATHERED: static.root_unit + static.unit}))


def _load(plan: Plan, static: Static) -> Parts:
    """Weights as they are placed: each quantized one is there in 16 bits until it is packed."""
    parts = {
        kind: size for kind, size in static.parts().items() if kind not in ("adapters", "optimizer states")
    }
    if plan.quantized:
        largest = max(
            (linear.weights for linear in plan.architecture.linears if plan.is_quantized(linear)), default=0
        )
        parts["weights being quantized"] = 2 * largest * 2
    if plan.profile.loads_at_once and plan.quantized:
        # transformers modeling_utils.py get_total_byte_count takes only plain linears for quantized.
        others = plan.base * sum(
            linear.weights * linear.count
            for linear in plan.architecture.linears
            if linear.conv1d and plan.is_quantized(linear)
        )
        at_once = static.weights + static.quantized + others * 3 // 4
        if others and at_once > sum(parts.values()):
            return {"weights on their way": at_once}
    return _clean(parts)


def output_bytes(plan: Plan) -> int:
    """Bytes of the logits in the outputs of one forward pass."""
    element = plan.compute
    if plan.quantized and plan.profile.embeddings_float32_quantized and not plan.setup.autocast:
        element = 4
    return plan.setup.tokens * plan.architecture.vocab * element


def embedded_element(plan: Plan) -> int:
    """Bytes of one element of the embedding's output."""
    if plan.quantized and plan.profile.embeddings_float32_quantized:
        return 4
    return 4 if plan.setup.dtype == "float32" or (plan.full and plan.base == 4 and not plan.sharded) else 2


def _sum(*many: Mapping[str, int]) -> Parts:
    total: Parts = {}
    for parts in many:
        for kind, size in parts.items():
            total[kind] = total.get(kind, 0) + size
    return total


def _clean(parts: Mapping[str, int]) -> Parts:
    return {kind: size for kind, size in parts.items() if size}
