"""The events of one layer and of the head, as the allocator will see them again and again."""

from __future__ import annotations

from dataclasses import dataclass

from engine.fit.allocator_config import SMALL_SIZE
from engine.fit.head import LOGITS, Head
from engine.fit.layer import run_layer
from engine.fit.maker import STREAM, Maker, Tensor
from engine.fit.plan import LayerShape, Plan
from engine.fit.tape import Tape, Value

Events = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Piece:
    """One layer.

    Attributes:
        shape: Which kind.
        forward: Its forward pass as it is first run.
        backward: Its backward pass, with the recomputing that belongs to it.
        between: What stays from one to the other.
    """

    shape: LayerShape
    forward: Events
    backward: Events
    between: Events


def large(events: Events) -> Events:
    """Those above 1 MiB; the others share small segments."""
    return [event for event in events if not -SMALL_SIZE <= event[1] <= SMALL_SIZE]


def layer_piece(plan: Plan, shape: LayerShape, accumulating: bool = False) -> Piece:
    """Record a layer of this kind."""
    learning = plan.learns(shape)
    checkpointed = plan.setup.gradient_checkpointing and learning
    forward = forward_events(plan, shape) if checkpointed else []
    tape = Tape(record=True)
    result = run_layer(Maker(tape, plan, accumulating), shape, _input(plan, tape, learning))
    split = len(tape.events)
    grad = tape.new(0, STREAM)
    reentrant = plan.profile.reentrant and checkpointed
    if reentrant:
        tape.hold(grad)
    elif checkpointed:
        tape.release(result.value)
    tape.backward(result.value, grad)
    if reentrant:
        tape.release(result.value)
    if checkpointed:
        return Piece(shape, forward, large(tape.events), [])
    freed = {label for label, change in tape.events[:split] if change < 0}
    between = [event for event in tape.events[:split] if event[1] > 0 and event[0] not in freed]
    between = between if learning else []
    return Piece(shape, large(tape.events[:split]), large(tape.events[split:]), large(between))


def forward_events(plan: Plan, shape: LayerShape) -> Events:
    """A layer's forward pass that keeps nothing; what is left at the end is its result."""
    tape = Tape(record=True, learning=False)
    run_layer(Maker(tape, plan), shape, _input(plan, tape, True))
    return large(tape.events)


def head_events(plan: Plan, accumulating: bool = False, learning: bool = True) -> Events:
    """From the last layer's result to the loss, and back if something is learned."""
    tape = Tape(record=True, learning=learning)
    maker = Maker(tape, plan, accumulating)
    loss, held = Head(maker).forward(_input(plan, tape, learning), plan.loss)
    tape.release(*held)
    if learning:
        tape.backward(loss, tape.new(max(4, loss.grad_size), LOGITS))
    tape.release(loss)
    return large(tape.events)


def _input(plan: Plan, tape: Tape, learning: bool) -> Tensor:
    size = plan.setup.tokens * plan.architecture.hidden * plan.stream
    return Tensor(Value(tape.new(0, STREAM), size, learning), plan.stream)
