"""A step's tensors in the order in which they are allocated and released, with autograd's rules for what lives how long.

An operation is written down once, with what its backward pass keeps; the tape then plays the backward pass as
autograd's engine does: newest operation first, the incoming gradient alive until the operation is done, then what
was saved for it released (torch/csrc/autograd/engine.cpp, ``evaluate_function``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.fit.allocator_config import LARGE_BUFFER, MIN_LARGE_ALLOC, ROUND_LARGE, SMALL_SIZE

GRANULE = 512  # c10/cuda/CUDACachingAllocator.cpp: kMinBlockSize, every request is rounded up to it

Gradient = Literal["new", "same", "kept", "none"]


class Buffer:
    """Memory that several tensors may share; released with its last holder."""

    __slots__ = ("holders", "kind", "label", "size")

    def __init__(self, size: int, kind: str, label: int) -> None:
        self.size = size
        self.kind = kind
        self.label = label
        self.holders = 1


class Value:
    """A tensor in the graph of one layer.

    Attributes:
        buffer: Its memory.
        grad_size: Bytes of its gradient: those of the tensor itself, also where the memory is shared.
        wants_grad: Something before it is trained.
        grad: Its gradient during the backward pass.
    """

    __slots__ = ("buffer", "grad", "grad_size", "wants_grad")

    def __init__(self, buffer: Buffer, grad_size: int, wants_grad: bool) -> None:
        self.buffer = buffer
        self.grad_size = grad_size
        self.wants_grad = wants_grad
        self.grad: Buffer | None = None


@dataclass(slots=True)
class _Operation:
    output: Value
    inputs: tuple[tuple[Value, Gradient], ...]
    saved: tuple[Buffer, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    weights: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class Tape:
    """Counts what is allocated, remembers the heaviest moment.

    Attributes:
        now: Bytes allocated at this moment, what lies outside the tape included.
        peak: Most bytes so far.
        parts: What was in memory at the peak, by kind.
        record: Keep every event in ``events`` for the allocator: ``(label, size)``, negative sizes release.
        learning: Operations keep what their backward pass needs; off during evaluation.
    """

    live: dict[str, int] = field(default_factory=dict)
    record: bool = False
    learning: bool = True
    now: int = 0
    peak: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    events: list[tuple[int, int]] = field(default_factory=list)
    operations: list[_Operation] = field(default_factory=list)
    _labels: int = 0

    def __post_init__(self) -> None:
        self.now = sum(self.live.values())
        self._mark()

    def new(self, size: int, kind: str) -> Buffer:
        """Allocate ``size`` bytes, rounded up as the caching allocator does."""
        rounded = -(-size // GRANULE) * GRANULE
        if rounded >= MIN_LARGE_ALLOC and -rounded % ROUND_LARGE <= SMALL_SIZE:
            # It has a segment of its own, rounded up to 2 MiB, whose short end is not split off (should_split).
            rounded += -rounded % ROUND_LARGE
        played = rounded
        if SMALL_SIZE < rounded < MIN_LARGE_ALLOC:
            # Such blocks share segments of 20 MiB; a short end counts with the last one in it, so with each its share.
            together = LARGE_BUFFER // rounded
            end = LARGE_BUFFER - together * rounded
            rounded += end // together // GRANULE * GRANULE if end <= SMALL_SIZE else 0
        self._labels += 1
        self.now += rounded
        self.live[kind] = self.live.get(kind, 0) + rounded
        if self.record and played:
            self.events.append((self._labels, played))
        if self.now > self.peak:
            self._mark()
        return Buffer(rounded, kind, self._labels)

    def hold(self, buffer: Buffer) -> Buffer:
        """One more holder."""
        buffer.holders += 1
        return buffer

    def drop(self, buffer: Buffer) -> None:
        """One holder less; the last one releases the memory."""
        buffer.holders -= 1
        if buffer.holders == 0:
            self.now -= buffer.size
            self.live[buffer.kind] -= buffer.size
            if self.record and buffer.size:
                self.events.append((buffer.label, -buffer.size))

    def pulse(self, *sizes: int, kind: str = "temporary") -> None:
        """Allocate all of these together and release them again."""
        held = [self.new(size, kind) for size in sizes]
        for buffer in held:
            self.drop(buffer)

    def constant(self, size: int, kind: str) -> Value:
        """A tensor nothing is trained before."""
        return Value(self.new(size, kind), size, False)

    def leaf(self, buffer: Buffer, size: int) -> Value:
        """The input of a layer whose gradient is wanted; the tape does not own its memory."""
        return Value(self.hold(buffer), size, True)

    def operation(
        self,
        inputs: Sequence[tuple[Value, Gradient]],
        size: int,
        kind: str,
        saved: Iterable[Buffer] = (),
        *,
        shares: Buffer | None = None,
        grad_size: int | None = None,
        before: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
        weights: tuple[tuple[int, str], ...] = (),
        trained: bool = False,
        saves_result: bool = False,
    ) -> Value:
        """Write down one operation and allocate its result.

        Args:
            inputs: What it reads that may want a gradient, and whether that gradient is a new tensor, the incoming
                one passed on, the first saved tensor overwritten, or none.
            size: Bytes of the result; 0 with ``shares`` where the result is a view.
            kind: Name of the part the result belongs to.
            saved: Memory its backward pass needs; held until then if a gradient is wanted at all.
            shares: Memory the result shares instead of having its own.
            grad_size: Bytes of the result's gradient where they differ from ``size``.
            before: Temporaries of the backward pass that live while the gradients are computed.
            after: Temporaries that live after all gradients are there.
            weights: Gradients of weights it computes, with the part they belong to; they stay.
            trained: It has a trained weight, so its result wants a gradient whatever its inputs do.
            saves_result: Its backward pass needs its own result.
        """
        wants = self.learning and (
            trained or any(value.wants_grad and how != "none" for value, how in inputs)
        )
        buffer = self.hold(shares) if shares is not None else self.new(size, kind)
        result = Value(buffer, size if grad_size is None else grad_size, wants)
        if wants:
            self.operations.append(
                _Operation(
                    result,
                    tuple(inputs),
                    tuple(self.hold(item) for item in (*saved, *((buffer,) if saves_result else ()))),
                    before,
                    after,
                    weights,
                )
            )
        return result

    def release(self, *values: Value) -> None:
        """The forward code does not name these tensors any more."""
        for value in values:
            self.drop(value.buffer)

    def backward(self, output: Value, grad: Buffer, until: int = 0) -> None:
        """Play the backward pass from ``output``, whose gradient ``grad`` is handed over.

        The gradients of leaves are left in ``Value.grad``. Stops when ``until`` operations are left.
        """
        output.grad = grad
        self.resume(until)

    def resume(self, until: int = 0) -> None:
        """Go on with a backward pass that was stopped."""
        while len(self.operations) > until:
            self._backward_one(self.operations.pop())

    def add(self, sizes: Mapping[str, int], times: int = 1) -> None:
        """Count memory that something outside the tape holds."""
        for kind, size in sizes.items():
            self.live[kind] = self.live.get(kind, 0) + size * times
            self.now += size * times
        if self.now > self.peak:
            self._mark()

    def start_phase(self) -> None:
        """Forget the peak so far."""
        self._mark()

    def _backward_one(self, op: _Operation) -> None:
        incoming = op.output.grad
        if incoming is not None:
            temporaries = [self.new(size, "temporary") for size in op.before]
            found: list[tuple[Value, Buffer]] = []
            for value, how in op.inputs:
                if value.wants_grad and how != "none":
                    if how == "new":
                        grad = self.new(value.grad_size, "gradients of activations")
                    else:
                        grad = self.hold(incoming if how == "same" else op.saved[0])
                    found.append((value, grad))
            for size, kind in op.weights:
                self.new(size, kind)
            temporaries += [self.new(size, "temporary") for size in op.after]
            for buffer in temporaries:
                self.drop(buffer)
            self.drop(incoming)
            op.output.grad = None
            for value, grad in found:
                self._accumulate(value, grad)
        for buffer in op.saved:
            self.drop(buffer)

    def _accumulate(self, value: Value, grad: Buffer) -> None:
        # torch/csrc/autograd/input_buffer.cpp, accumulate(): in place only into memory nobody else holds.
        if value.grad is None:
            value.grad = grad
            return
        if value.grad.holders == 1:
            self.drop(grad)
            return
        total = self.new(value.grad_size, "gradients of activations")
        self.drop(value.grad)
        self.drop(grad)
        value.grad = total

    def _mark(self) -> None:
        self.peak = self.now
        self.parts = self.live.copy()
