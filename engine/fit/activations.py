"""What stands between the linears of a feed-forward part: activations, products and gates."""

from __future__ import annotations

from engine.fit.maker import FEED_FORWARD, Maker, Tensor

# Python-level GELU (transformers activations.py NewGELUActivation): pow, tanh and two products keep a tensor each.
_COMPOSED_ACTIVATIONS = frozenset(["gelu_new", "gelu_fast", "gelu_python", "quick_gelu", "xielu", "relu2"])


def activate(maker: Maker, x: Tensor, elements: int) -> Tensor:
    """An activation function keeps its input, and its intermediate results where it is composed of operations."""
    size = elements * x.element
    tape = maker.tape
    if maker.plan.architecture.activation in _COMPOSED_ACTIVATIONS:
        wide = 4 if maker.plan.setup.autocast else x.element  # autocast runs pow in float32
        source = x.value.buffer if wide == x.element else tape.new(elements * wide, FEED_FORWARD)
        more = [tape.new(elements * item, FEED_FORWARD) for item in (x.element, wide, wide)]
        value = tape.operation(
            [(x.value, "new")],
            elements * wide,
            FEED_FORWARD,
            [source, *more],
            before=(elements * wide,) * 2,
        )
        for buffer in more if source is x.value.buffer else (source, *more):
            tape.drop(buffer)
        return Tensor(value, wide)
    value = tape.operation([(x.value, "new")], size, FEED_FORWARD, [x.value.buffer])
    return Tensor(value, x.element)


def product_of(maker: Maker, a: Tensor, b: Tensor, elements: int) -> Tensor:
    """A product keeps both factors."""
    element = max(a.element, b.element)
    value = maker.tape.operation(
        [(a.value, "new"), (b.value, "new")],
        elements * element,
        FEED_FORWARD,
        [a.value.buffer, b.value.buffer],
    )
    return Tensor(value, element)


def gated_halves(maker: Maker, joined: Tensor, elements: int, kind: str = FEED_FORWARD) -> Tensor:
    """Gate and up in one tensor: the activated gate is new, all are kept, and the gradients are put together again."""
    tape, size = maker.tape, elements * joined.element
    halves = tape.operation([(joined.value, "new")], 0, kind, shares=joined.value.buffer, grad_size=2 * size)
    # modeling_gpt_oss.py _apply_gate: gate and up clamped, the sigmoid and the product with it are tensors of their own.
    made = 4 if maker.plan.architecture.model_type == "gpt_oss" else 1
    kept = [tape.new(size, kind) for _ in range(made)]
    value = tape.operation([(halves, "new")], size, kind, [joined.value.buffer, *kept])
    for buffer in kept:
        tape.drop(buffer)
    tape.release(halves)
    return Tensor(value, joined.element)
