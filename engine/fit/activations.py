"""What stands between the linears of a feed-forward part: activations, products and gates."""

from __future__ import annotations

from engine.fit.maker import FEED_FORWARD, Maker, Tensor

# Activations composed of operations (transformers activations.py), by what they keep, what they give, and how many
# temporaries of that width their backward pass has. "x" is the format of the input, "wide" the one that autocast
# computes powers and exponentials in (autocast_mode.h), "mask" a byte.
_COMPOSED: dict[str, tuple[tuple[str, ...], str, int]] = {
    "gelu_new": (("source", "x", "wide", "wide"), "wide", 1),  # pow, tanh, and two factors
    "gelu_python": (("x", "x"), "x", 2),
    "gelu_fast": (("source", "x", "x", "x", "x", "x", "x"), "x", 2),
    "quick_gelu": (("source", "x"), "x", 2),
    "relu2": (("x", "source"), "wide", 1),
    "xielu": (("x", "x", "mask", "wide"), "wide", 6),
}


def activate(maker: Maker, x: Tensor, elements: int) -> Tensor:
    """An activation function keeps its input, and its intermediate results where it is composed of operations."""
    tape, size = maker.tape, elements * x.element
    composed = _COMPOSED.get(maker.plan.architecture.activation)
    if maker.plan.architecture.activation == "relu":  # derivatives.yaml: threshold_backward of the result
        value = tape.operation([(x.value, "new")], size, FEED_FORWARD, saves_result=True)
        return Tensor(value, x.element)
    if composed is None:
        value = tape.operation([(x.value, "new")], size, FEED_FORWARD, [x.value.buffer])
        return Tensor(value, x.element)
    kept, result, temporaries = composed
    wide = 4 if maker.plan.setup.autocast else x.element
    # The source of a power is the input itself, or its cast.
    widths = {"x": x.element, "wide": wide, "mask": 1, "source": wide if wide != x.element else 0}
    if wide != x.element and composed is _COMPOSED["gelu_new"]:
        temporaries += 1  # the gradient of the narrow factor, before it is cast
    made = [tape.new(elements * widths[name], FEED_FORWARD) for name in kept]
    value = tape.operation(
        [(x.value, "new")],
        elements * widths[result],
        FEED_FORWARD,
        [x.value.buffer, *made] if widths["source"] == 0 or "source" not in kept else made,
        before=(elements * wide,) * temporaries,
    )
    for buffer in made:
        tape.drop(buffer)
    return Tensor(value, widths[result])


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
