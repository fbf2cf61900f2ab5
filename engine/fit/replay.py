"""From allocated to reserved: steps of a run played through the model of PyTorch's caching allocator.

Layers are alike, so of each kind the first and the last are played in full, and of those between only what stays or
is largest. Sizes up to 1 MiB share small segments and are counted, not played.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.fit.allocator import Block, CachingAllocator
from engine.fit.allocator_config import LARGE_BUFFER, MIN_LARGE_ALLOC
from engine.fit.arithmetic import autocast_copies, embedded_element, evaluating, int8_kept, output_bytes
from engine.fit.expert_linears import expert_weights
from engine.fit.pieces import Events, Piece, forward_events, head_events, layer_piece
from engine.fit.plan import Plan
from engine.fit.static import Static, moment_bytes, num_states, trained_tensors

_SMALL = 1 << 20
_SEGMENT = 2 << 20
_SPARE_SEGMENTS = 4  # small segments that are never quite full
_GATHERS_AHEAD = 2
_MANY = 350  # above this many linears the gradients of a layer are taken in one piece, to stay fast
_BUCKET = 25 << 20  # torch/nn/parallel/distributed.py bucket_cap_mb
_UNSHARD_STREAM, _POST_BACKWARD_STREAM = 1, 2


@dataclass(frozen=True, slots=True)
class Reserved:
    """What the allocator holds.

    Attributes:
        peak: Most bytes at any moment.
        seen: Most bytes that last long enough to be seen by a program that looks once a second: at the end of a layer
            or of an optimizer step. Shorter peaks only happen where the card is full and the cache is emptied.
    """

    peak: int
    seen: int


@dataclass(slots=True)
class _Player:
    allocator: CachingAllocator
    small: int = 0
    seen: int = 0

    def take(self, size: int, stream: int = 0) -> Block | None:
        if size <= _SMALL:
            return None
        return self.allocator.malloc(size, stream)

    def give(self, block: Block | None) -> None:
        if block is not None:
            self.allocator.free(block)

    def settle(self, size: int, count: int) -> None:
        """Count blocks that stay where they are, without playing them."""
        if size <= _SMALL or not count:
            return
        segment = _SEGMENT * -(-size // _SEGMENT)
        segments = count
        if size < MIN_LARGE_ALLOC:
            segment, segments = LARGE_BUFFER, -(-count // (LARGE_BUFFER // size))
        stats = self.allocator.stats
        stats.reserved += segment * segments
        stats.allocated += size * count
        stats.peak_reserved = max(stats.peak_reserved, stats.reserved)
        stats.peak_allocated = max(stats.peak_allocated, stats.allocated)

    def keep(self, size: int, count: int, together: bool) -> None:
        """Allocate blocks for good: into what is cached, one by one or many together; the rest anew."""
        if size <= _SMALL:
            return
        allocator = self.allocator
        at_once = count if together else 1
        while count and (several := min(count, at_once, allocator.largest_free_block() // size)):
            allocator.malloc(several * size)
            count -= several
        if allocator.capacity is None:
            self.settle(size, count)
            return
        for _ in range(count):
            allocator.malloc(size)

    def play(self, events: Events, held: dict[int, Block]) -> None:
        malloc, free = self.allocator.malloc, self.allocator.free
        for label, size in events:
            if size > 0:
                held[label] = malloc(size)
            elif label in held:
                free(held.pop(label))
        self.look()

    def clear(self, held: dict[int, Block]) -> None:
        for block in held.values():
            self.allocator.free(block)
        held.clear()

    def look(self) -> None:
        self.seen = max(self.seen, self.allocator.stats.reserved)


@dataclass(slots=True)
class _Run:
    plan: Plan
    static: Static
    player: _Player
    exact: bool
    pieces: list[Piece] = field(default_factory=list)
    head: Events = field(default_factory=list)
    outputs: Block | None = None
    gradients: list[Block | None] = field(default_factory=list)
    leaked: list[Block | None] = field(default_factory=list)
    int8_inputs: list[list[Block | None]] = field(default_factory=list)
    scattered: list[Block | None] = field(default_factory=list)
    incoming: dict[int, Block] = field(default_factory=dict)


def replay(plan: Plan, static: Static, capacity: int | None) -> Reserved:
    """Play steps of the heaviest batch.

    Args:
        plan: The run.
        static: What is there the whole time.
        capacity: What the process can have of the card; ``None`` for no limit.

    Raises:
        OutOfMemory: It does not fit.
    """
    player = _Player(CachingAllocator(capacity=capacity))
    _load(plan, static, player)
    run = _Run(plan, static, player, sum(linear.count for linear in plan.architecture.linears) <= _MANY)
    # Large states of the optimizer, or outputs that are still held, make the second step differ from the first.
    steps = 2 if not plan.adapts or plan.profile.keeps_last_outputs or plan.profile.empties_cache else 1
    evaluates = plan.setup.eval_batch > 0
    for step in range(steps):
        again = step > 0 and not plan.adapts and plan.setup.gradient_accumulation > 1
        if step == 0 or again:
            run.pieces = [layer_piece(plan, shape, again) for shape in plan.shapes]
            run.head = head_events(plan, again)
        _step(run, step, again, step + 1 == steps and not evaluates)
        if plan.profile.empties_cache and step + 1 < steps:
            player.allocator.empty_cache()
            player.allocator.reset_peaks()
            player.seen = 0
    if evaluates:
        _evaluate(plan, player)
    small = _SEGMENT * (-(-_small(plan, static) // _SEGMENT) + _SPARE_SEGMENTS)
    return Reserved(player.allocator.stats.peak_reserved + small, player.seen + small)


def _small(plan: Plan, static: Static) -> int:
    """Bytes in tensors of up to 1 MiB that stay: scales, and what is trained with its gradients and states."""
    total = static.scales if static.scales <= _SMALL * plan.architecture.layers * 8 else 0
    for tensor in trained_tensors(plan):
        if tensor.elements * plan.adapter <= _SMALL:
            total += 4 * tensor.elements * plan.adapter * tensor.count
    return total


def _load(plan: Plan, static: Static, player: _Player) -> None:
    arch = plan.architecture
    player.settle(static.reference // (arch.layers + 1), arch.layers + 1)
    if plan.sharded:
        # Quantized weights are packed on every GPU before they are sharded; others come layer by layer.
        packed = [
            player.take(linear.weights // 2 if plan.four_bit else linear.weights)
            for linear in (arch.linears if plan.quantized else ())
            for _ in range(linear.count)
            if linear.part != "head"
        ]
        for block in packed:
            player.give(block)
        player.give(player.take(static.unit))
        player.settle((static.weights + static.quantized) // (arch.layers + 1), arch.layers + 1)
        player.take(static.scales)
        return
    embeddings = [arch.embedding_params] + ([] if arch.tied else [arch.vocab * arch.hidden])
    wide = plan.quantized and plan.profile.embeddings_float32_quantized
    for elements in embeddings:
        narrow = player.take(elements * plan.base)
        if wide:  # cast after loading
            player.take(4 * elements)
            player.give(narrow)
    for linear in arch.linears:
        if linear.part == "head":
            continue
        size = linear.weights * plan.base
        if plan.is_quantized(linear):
            player.give(player.take(size))  # in 16 bits, until it is packed
            size = linear.weights // 2 if plan.four_bit else linear.weights
        player.settle(size, linear.count)
    experts = arch.experts
    if experts is not None and experts.fused_params:
        each = experts.fused_params // experts.layers * plan.base
        player.settle(each * 2 // 3, experts.layers)
        player.settle(each // 3, experts.layers)
    others = arch.vision_params * plan.base
    player.settle(_SEGMENT, others // _SEGMENT)
    if plan.adapts:
        for tensor in trained_tensors(plan):
            player.settle(tensor.elements * plan.adapter, tensor.count)
    if plan.setup.sharding == "ddp":
        player.settle(_BUCKET, -(-static.trained * plan.adapter // _BUCKET))


def _step(run: _Run, step: int, again: bool, last_step: bool) -> None:
    plan, static, player = run.plan, run.static, run.player
    kept: list[dict[int, Block]] = []
    checkpoints: list[Block | None] = [
        player.take(plan.setup.tokens * plan.architecture.hidden * embedded_element(plan))
    ]
    casts = player.take(autocast_copies(plan, static))
    root = player.take(static.root_unit, _UNSHARD_STREAM)
    # torch/distributed/fsdp/_limiter_utils.py: two gathers may be under way beside the layer at work.
    ahead = [player.take(static.unit, _UNSHARD_STREAM) for _ in range(_GATHERS_AHEAD)]
    for piece in run.pieces:
        for index in range(piece.shape.count):
            unit = player.take(static.unit, _UNSHARD_STREAM)
            _forward(run, piece, index, kept, checkpoints)
            player.give(unit)
    last = checkpoints.pop() if plan.setup.gradient_checkpointing else None
    player.play(run.head, run.incoming)
    player.give(run.outputs)
    run.outputs = player.take(output_bytes(plan)) if plan.profile.keeps_last_outputs else None
    player.give(last)
    player.give(casts)
    run.incoming = _outgoing(run, run.incoming)
    for piece in reversed(run.pieces):
        for index in range(piece.shape.count):
            unit = player.take(static.unit, _UNSHARD_STREAM)
            _backward(run, piece, index, kept, checkpoints, again)
            player.give(unit)
    if plan.full and not plan.sharded:
        dense = player.take(plan.architecture.embedding_params * plan.base)
        if plan.architecture.tied or again:
            player.give(dense)
        else:
            run.gradients.append(dense)
    player.clear(run.incoming)
    for block in (*run.leaked, *run.scattered, *checkpoints, *ahead, root):
        player.give(block)
    run.leaked.clear()
    run.scattered.clear()
    _optimize(run, step, last_step)
    if last_step or (not plan.adapts and plan.setup.gradient_accumulation > 1):
        return
    for gradient in run.gradients:
        player.give(gradient)
    run.gradients.clear()


def _outgoing(run: _Run, held: dict[int, Block]) -> dict[int, Block]:
    """Of what a backward pass left, the gradient that is handed on; the others belong to weights."""
    label = max(held, default=None)
    outgoing = {label: held.pop(label)} if label is not None else {}
    if run.plan.setup.optimizer_in_backward:
        run.player.clear(held)
    run.gradients += held.values()
    held.clear()
    return outgoing


def _evaluate(plan: Plan, player: _Player) -> None:
    plan = evaluating(plan)
    result = player.take(plan.setup.tokens * plan.architecture.hidden * plan.stream)
    for shape in plan.shapes:
        events = forward_events(plan, shape)
        for _ in range(min(2, shape.count)):
            held: dict[int, Block] = {}
            player.play(events, held)
            player.give(result)
            result = held.pop(max(held), None) if held else None
            player.clear(held)
    if plan.setup.eval_keeps_logits:
        rows = max(plan.setup.max_eval_rows, plan.setup.batch) * plan.setup.seq_len
        player.take(rows * plan.architecture.vocab * 4)
    held = {}
    player.play(head_events(plan, learning=False), held)


def _played(piece: Piece, index: int) -> bool:
    return index in (0, piece.shape.count - 1)


def _forward(
    run: _Run, piece: Piece, index: int, kept: list[dict[int, Block]], checkpoints: list[Block | None]
) -> None:
    player = run.player
    if not run.plan.setup.gradient_checkpointing:
        kept.append({})
        player.play(piece.forward if _played(piece, index) else piece.between, kept[-1])
        return
    learns = run.plan.learns(piece.shape)
    if learns:
        run.int8_inputs.append([player.take(size) for size in int8_kept(run.plan, piece.shape)])
    if _played(piece, index) or not learns:
        held: dict[int, Block] = {}
        player.play(piece.forward, held)
        if not learns:  # frozen below the trained ones: the input goes when the result is there
            player.give(checkpoints.pop())
        checkpoints += list(held.values()) or [None]
        return
    size = run.plan.setup.tokens * run.plan.architecture.hidden * run.plan.stream
    middle, fed = player.take(size), player.take(size)
    checkpoints.append(player.take(size))
    player.give(middle)
    player.give(fed)


def _backward(
    run: _Run,
    piece: Piece,
    index: int,
    kept: list[dict[int, Block]],
    checkpoints: list[Block | None],
    again: bool,
) -> None:
    plan, static, player = run.plan, run.static, run.player
    checkpointed = plan.setup.gradient_checkpointing
    if checkpointed and not plan.learns(piece.shape):
        return
    held = {} if checkpointed else kept.pop()
    leaks = plan.sharded and plan.adapts and plan.profile.fsdp_frozen_hooks
    shard = static.unit // plan.setup.num_gpus * plan.adapter // plan.gathered if plan.sharded else 0
    if _played(piece, index):
        player.play(piece.backward, held)
        outgoing = _outgoing(run, held)
        if plan.sharded and plan.full:
            _scatter(run, shard)
        if leaks:
            run.leaked += run.incoming.values()
        else:
            player.clear(run.incoming)
        run.incoming = outgoing
    else:
        player.clear(held)
        if plan.full and plan.sharded:
            _scatter(run, shard)
        elif piece.shape.trained and not (again or plan.setup.optimizer_in_backward):
            sizes = [linear.weights * plan.adapter for linear in piece.shape.linears.values()]
            if piece.shape.experts:
                sizes += [elements * plan.adapter for elements in expert_weights(plan.architecture)]
            run.gradients += [player.take(size) for size in (sizes if run.exact else [sum(sizes)])]
        elif leaks:
            size = plan.setup.tokens * plan.architecture.hidden * plan.stream
            run.leaked.append(player.take(size))
    if checkpointed:
        for block in run.int8_inputs.pop():
            player.give(block)
        checkpoint = checkpoints.pop()
        if leaks:
            run.leaked.append(checkpoint)
        else:
            player.give(checkpoint)


def _scatter(run: _Run, shard: int) -> None:
    """The gradients of a layer in one piece, of which this GPU keeps its share.

    The pieces of the layers before are still in use by the other stream (_runtime_utils.py _reduce_grad).
    """
    player = run.player
    run.scattered.append(player.take(run.static.unit))
    run.gradients.append(player.take(shard, _POST_BACKWARD_STREAM))
    if len(run.scattered) > _GATHERS_AHEAD:
        player.give(run.scattered.pop(0))


def _trained(run: _Run) -> list[tuple[int, int, int]]:
    """What is trained, alike tensors together: bytes of one, bytes of one of its states, how many there are."""
    plan, layers = run.plan, run.plan.architecture.layers
    if plan.sharded and plan.full:
        unit = run.static.trained_here // (layers + 1) * plan.adapter
        return [(unit, unit, layers + 1)]
    return [
        (item.elements * plan.adapter, moment_bytes(plan, item), item.count) for item in trained_tensors(plan)
    ]


def _optimize(run: _Run, step: int, last_step: bool) -> None:
    plan, player = run.plan, run.player
    trained = _trained(run)
    if step == 0 and plan.setup.sharding.startswith("zero"):
        # deepspeed stage_1_and_2.py, stage3.py: this GPU's part of the float32 weights and moments, each in one flat tensor
        player.keep(run.static.states // 3, 3, together=False)
    elif step == 0:
        for _, moment, count in trained:
            player.keep(moment, num_states(plan.setup.optimizer) * count, together=plan.adapts)
    blocks: list[Block | None] = []
    if plan.setup.optimizer.startswith("adafactor"):
        copies = 5 if plan.adapter < 4 else 3
        blocks = [player.take(run.static.step_copy // copies) for _ in range(copies)]
    elif run.static.step_copy and last_step:
        for size, _, count in trained:
            player.keep(size, count, together=plan.adapts)
    elif run.static.step_copy:
        if not run.exact:
            layers = plan.architecture.layers
            trained = [(sum(size * count for size, _, count in trained) // layers, 0, layers)]
        blocks = [player.take(size) for size, _, count in trained for _ in range(count)]
    player.look()
    for block in blocks:
        player.give(block)
