"""The feed-forward part of a layer: plain, gated, or a mixture of experts."""

from __future__ import annotations

from engine.fit.maker import EXPERTS, FEED_FORWARD, Maker, Tensor
from engine.fit.plan import LayerShape
from engine.fit.projection import project

# Python-level GELU (transformers activations.py NewGELUActivation): pow, tanh and two products keep a tensor each.
_COMPOSED_ACTIVATIONS = frozenset(["gelu_new", "gelu_fast", "gelu_python", "quick_gelu", "xielu", "relu2"])


def feed_forward(maker: Maker, shape: LayerShape, x: Tensor) -> Tensor:
    arch = maker.plan.architecture
    if shape.experts and arch.experts is not None:
        routed = _experts(maker, x)
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
        product = _gated_halves(maker, joined, maker.tokens * width)
        tape.release(joined.value)
    elif "gate" in linears:
        gate = project(maker, x, linears["gate"], FEED_FORWARD)
        activated = _activate(maker, gate, width)
        tape.release(gate.value)
        up = project(maker, x, linears.get("up", linears["gate"]), FEED_FORWARD)
        product = _product(maker, activated, up, maker.tokens * width)
        tape.release(activated.value, up.value)
    else:
        up = project(maker, x, linears["up"], FEED_FORWARD)
        product = _activate(maker, up, width)
        tape.release(up.value)
    result = project(maker, product, down, FEED_FORWARD)
    tape.release(product.value)
    return result


def _activate(maker: Maker, x: Tensor, width: int) -> Tensor:
    size = maker.tokens * width * x.element
    tape = maker.tape
    if maker.plan.architecture.activation in _COMPOSED_ACTIVATIONS:
        wide = 4 if maker.plan.setup.autocast else x.element  # autocast runs pow in float32
        more = [tape.new(maker.tokens * width * item, FEED_FORWARD) for item in (x.element, wide, wide)]
        value = tape.operation(
            [(x.value, "new")],
            maker.tokens * width * wide,
            FEED_FORWARD,
            [x.value.buffer, *more],
            before=(maker.tokens * width * wide,) * 2,
        )
        for buffer in more:
            tape.drop(buffer)
        return Tensor(value, wide)
    value = tape.operation([(x.value, "new")], size, FEED_FORWARD, [x.value.buffer])
    return Tensor(value, x.element)


def _product(maker: Maker, a: Tensor, b: Tensor, elements: int) -> Tensor:
    element = max(a.element, b.element)
    value = maker.tape.operation(
        [(a.value, "new"), (b.value, "new")],
        elements * element,
        FEED_FORWARD,
        [a.value.buffer, b.value.buffer],
    )
    return Tensor(value, element)


def _gated_halves(maker: Maker, joined: Tensor, elements: int, kind: str = FEED_FORWARD) -> Tensor:
    # Views of one tensor: gate is activated into a new one, both are kept, the gradients are put together again.
    tape, size = maker.tape, elements * joined.element
    halves = tape.operation([(joined.value, "new")], 0, kind, shares=joined.value.buffer, grad_size=2 * size)
    activated = tape.new(size, kind)
    value = tape.operation([(halves, "new")], size, kind, [joined.value.buffer, activated])
    tape.drop(activated)
    tape.release(halves)
    return Tensor(value, joined.element)


def _experts(maker: Maker, x: Tensor) -> Tensor:
    # transformers integrations/moe.py grouped_mm_experts_forward: every token once for each of its experts.
    plan, tape = maker.plan, maker.tape
    experts = plan.architecture.experts
    assert experts is not None
    hidden, trained = plan.architecture.hidden, plan.full
    rows = maker.tokens * experts.top_k
    element = plan.compute if plan.setup.autocast else x.element
    wide = rows * hidden * element
    layer_weights = experts.fused_params // max(1, experts.layers)
    first = layer_weights * 2 // 3
    router = tape.new(4 * maker.tokens * experts.count * 2, EXPERTS)
    chosen = tape.operation([(x.value, "new")], wide, EXPERTS, [router])
    joined = tape.operation(
        [(chosen, "new")],
        2 * rows * experts.intermediate * element,
        EXPERTS,
        (chosen.buffer,) if trained else (),
        weights=maker.gradients(first) if trained else (),
        trained=trained,
    )
    tape.release(chosen)
    product = _gated_halves(maker, Tensor(joined, element), rows * experts.intermediate, EXPERTS)
    tape.release(joined)
    down = tape.operation(
        [(product.value, "new")],
        wide,
        EXPERTS,
        (product.value.buffer,) if trained else (),
        weights=maker.gradients(layer_weights - first) if trained else (),
        trained=trained,
    )
    tape.release(product.value)
    weighted = tape.operation([(down, "new")], wide, EXPERTS, [down.buffer])
    tape.release(down)
    unsorted = tape.operation([(weighted, "new")], wide, EXPERTS)
    tape.release(weighted)
    total = tape.operation([(unsorted, "new")], maker.tokens * hidden * x.element, EXPERTS)
    tape.release(unsorted)
    tape.drop(router)
    return Tensor(total, x.element)
