"""The feed-forward part of a layer: plain, gated, or a mixture of experts."""

from __future__ import annotations

from engine.fit.activations import activate, gated_halves, product_of
from engine.fit.experts import run_experts
from engine.fit.maker import FEED_FORWARD, Maker, Tensor
from engine.fit.plan import LayerShape
from engine.fit.projection import project


def feed_forward(maker: Maker, shape: LayerShape, x: Tensor) -> Tensor:
    arch = maker.plan.architecture
    if shape.experts and arch.experts is not None:
        routed = run_experts(maker, x)
        if "down" not in shape.linears or not arch.experts.shared_intermediate:
            return routed
        shared = _dense(maker, shape, x)
        both = maker.add(routed, shared, maker.tokens * arch.hidden, FEED_FORWARD)
        maker.tape.release(routed.value, shared.value)
        return both
    return _dense(maker, shape, x)


def _dense(maker: Maker, shape: LayerShape, x: Tensor) -> Tensor:
    linears, tape = shape.linears, maker.tape
    down = linears.get("down")
    if down is None:
        tape.hold(x.value.buffer)
        return x
    width = down.in_features
    if "gate_up" in linears:
        joined = project(maker, x, linears["gate_up"], FEED_FORWARD)
        product = gated_halves(maker, joined, maker.tokens * width)
        tape.release(joined.value)
    elif "gate" in linears:
        gate = project(maker, x, linears["gate"], FEED_FORWARD)
        activated = activate(maker, gate, maker.tokens * width)
        tape.release(gate.value)
        up = project(maker, x, linears.get("up", linears["gate"]), FEED_FORWARD)
        product = product_of(maker, activated, up, maker.tokens * width)
        tape.release(activated.value, up.value)
    else:
        up = project(maker, x, linears["up"], FEED_FORWARD)
        product = activate(maker, up, maker.tokens * width)
        tape.release(up.value)
    result = project(maker, product, down, FEED_FORWARD)
    tape.release(product.value)
    return result
