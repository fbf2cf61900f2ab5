"""One decoder layer on the tape: what its forward pass allocates and what it keeps for the backward pass.

The order of operations is that of ``LlamaDecoderLayer`` in transformers and of the adapter layers in PEFT; where an
architecture or a stack differs, the branch says so. What an operation keeps follows torch's
``tools/autograd/derivatives.yaml``: a product keeps the factors whose partner wants a gradient, SiLU its input,
a linear its input only if its weight is trained, and so on.
"""

from __future__ import annotations

from engine.fit.attention import mix
from engine.fit.feed_forward import feed_forward
from engine.fit.maker import STREAM, Maker, Tensor
from engine.fit.norms import norm
from engine.fit.plan import LayerShape


def run_layer(maker: Maker, shape: LayerShape, x: Tensor) -> Tensor:
    """One layer; returns its output. ``x`` stays the caller's."""
    maker = maker.of_layer(shape.trained)
    tape, arch = maker.tape, maker.plan.architecture
    hidden = arch.hidden
    width = maker.tokens * hidden
    if arch.post_norm:
        mixed = _normed(maker, mix(maker, shape, x))
        middle = maker.add(x, mixed, width, STREAM)
        tape.release(mixed.value)
        fed = _normed(maker, feed_forward(maker, shape, middle))
        result = maker.add(middle, fed, width, STREAM)
        tape.release(middle.value, fed.value)
        return result
    normed = norm(maker, x, hidden, 1)
    if arch.parallel_layer:
        mixed = _dropped(maker, mix(maker, shape, normed))
        second = normed
        if arch.norms_per_layer > 1:
            tape.release(normed.value)
            second = norm(maker, x, hidden, 1)
        fed = _dropped(maker, feed_forward(maker, shape, second))
        tape.release(second.value)
        joined = maker.add(mixed, fed, width, STREAM)
        tape.release(mixed.value, fed.value)
        result = maker.add(joined, x, width, STREAM)
        tape.release(joined.value)
        return result
    mixed = _dropped(maker, mix(maker, shape, normed))
    tape.release(normed.value)
    if arch.norms_per_layer > 2:
        mixed = _normed(maker, mixed)
    middle = maker.add(x, mixed, width, STREAM)
    tape.release(mixed.value)
    normed = norm(maker, middle, hidden, 1)
    fed = _dropped(maker, feed_forward(maker, shape, normed))
    tape.release(normed.value)
    if arch.norms_per_layer > 2:
        fed = _normed(maker, fed)
    result = maker.add(middle, fed, width, STREAM)
    tape.release(middle.value, fed.value)
    return result


def _normed(maker: Maker, x: Tensor) -> Tensor:
    """The normalised tensor in place of the tensor."""
    return maker.replaced(x, norm(maker, x, maker.plan.architecture.hidden, 1))


def _dropped(maker: Maker, x: Tensor) -> Tensor:
    """After dropout, which keeps a byte an element for where it dropped (native_dropout)."""
    if not maker.plan.architecture.dropout or not maker.tape.learning:
        return x
    elements = maker.tokens * maker.plan.architecture.hidden
    mask = maker.tape.new(elements, STREAM)
    value = maker.tape.operation([(x.value, "new")], elements * x.element, STREAM, [mask])
    maker.tape.drop(mask)
    return maker.replaced(x, Tensor(value, x.element))
