"""What stands between the linears of a feed-forward part: activations, products and gates."""

from __future__ import annotations

from dataclasses import dataclass

from engine.fit.maker import FEED_FORWARD, Maker, Tensor


@dataclass(frozen=True, slots=True)
class _Composed:
    """An activation composed of operations (transformers activations.py).

    Attributes:
        kept: What autograd keeps: the ``input``; tensors of its format ``x``; of the ``wide`` one, in which autocast
            computes powers and exponentials (autocast_mode.h); the ``source`` of a power, which is the input or its
            cast; a ``cast`` to the wide format, if the input has another; a byte each for a ``mask``.
        result: Format of the result.
        temporaries: What lives in the backward pass beside the incoming and the outgoing gradient.
        trained: What is kept, too, where the activation's own factors are trained.
    """

    kept: tuple[str, ...]
    result: str
    temporaries: tuple[str, ...]
    trained: tuple[str, ...] = ()


_COMPOSED = {
    # pow, tanh and the two factors; the gradient of the narrow factor, before it is cast
    "gelu_new": _Composed(("source", "x", "wide", "wide"), "wide", ("wide", "cast")),
    "gelu_python": _Composed(("input", "x", "x"), "x", ("x", "x")),
    "gelu_fast": _Composed(("input", *["x"] * 6), "x", ("x", "x")),
    "quick_gelu": _Composed(("input", "x"), "x", ("x", "x")),
    "relu2": _Composed(("x", "cast"), "wide", ("wide", "wide", "cast")),
    # x > 0, the product with the positive factor, and expm1
    "xielu": _Composed(("input", "x", "mask", "wide"), "wide", ("wide", "wide", "x"), ("wide",)),
}


def activate(maker: Maker, x: Tensor, elements: int) -> Tensor:
    """An activation function keeps its input, and its intermediate results where it is composed of operations."""
    tape, size = maker.tape, elements * x.element
    if maker.plan.architecture.activation == "relu":  # derivatives.yaml: threshold_backward of the result
        value = tape.operation([(x.value, "new")], size, FEED_FORWARD, saves_result=True)
        return Tensor(value, x.element)
    composed = _COMPOSED.get(maker.plan.architecture.activation)
    if composed is None:
        value = tape.operation([(x.value, "new")], size, FEED_FORWARD, [x.value.buffer])
        return Tensor(value, x.element)
    wide = 4 if maker.plan.setup.autocast else x.element
    cast = wide if wide != x.element else 0
    widths = {"x": x.element, "wide": wide, "mask": 1, "cast": cast, "source": cast, "input": 0}
    kept = composed.kept + (composed.trained if maker.plan.full else ())
    made = [tape.new(elements * widths[name], FEED_FORWARD) for name in kept]
    reads_input = "input" in kept or ("source" in kept and not cast)
    value = tape.operation(
        [(x.value, "new")],
        elements * widths[composed.result],
        FEED_FORWARD,
        [x.value.buffer, *made] if reads_input else made,
        before=tuple(elements * widths[name] for name in composed.temporaries),
    )
    for buffer in made:
        tape.drop(buffer)
    return Tensor(value, widths[composed.result])


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
