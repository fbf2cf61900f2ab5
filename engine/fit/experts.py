"""A mixture of experts: as 3-D parameters, or each expert as a module of linears."""

from __future__ import annotations

from engine.fit.activations import activate, gated_halves, product_of
from engine.fit.maker import ADAPTER, EXPERTS, Maker, Tensor
from engine.fit.projection import project
from engine.fit.tape import Value
from engine.fit.types import Experts

_GROUPS = 4  # where there are many experts, so many are written out, each for its share


def run_experts(maker: Maker, x: Tensor) -> Tensor:
    """All experts of one layer."""
    experts = maker.plan.architecture.experts
    assert experts is not None
    return _fused(maker, x, experts) if experts.fused_params else _apart(maker, x, experts)


def _apart(maker: Maker, x: Tensor, experts: Experts) -> Tensor:
    # transformers 4 MixtralSparseMoeBlock.forward: one expert after the other gathers its tokens, and adds its result,
    # times the router's weight, to a tensor of zeros. Tokens are taken to be spread evenly.
    plan, tape = maker.plan, maker.tape
    gate, up, down = (linear for linear in plan.architecture.linears if linear.part == "expert")
    hidden, groups = plan.architecture.hidden, experts.count if experts.count <= 8 else _GROUPS
    rows = -(-maker.tokens * experts.top_k // groups)
    copies = experts.count // groups
    chosen = tape.new(
        8 * maker.tokens * experts.top_k * experts.count, EXPERTS
    )  # one-hot mask of whole numbers
    router = tape.new(4 * maker.tokens * experts.count * 2, EXPERTS)
    total = Tensor(
        tape.operation([(x.value, "none")], maker.tokens * hidden * x.element, EXPERTS, [router]), x.element
    )
    tape.drop(router)
    for _ in range(groups):
        taken = Tensor(tape.operation([(x.value, "new")], rows * hidden * x.element, EXPERTS), x.element)
        opened = project(maker, taken, gate, EXPERTS, rows, copies)
        activated = activate(maker, opened, rows * gate.out_features)
        tape.release(opened.value)
        other = project(maker, taken, up, EXPERTS, rows, copies)
        product = product_of(maker, activated, other, rows * gate.out_features)
        tape.release(activated.value, other.value)
        result = project(maker, product, down, EXPERTS, rows, copies)
        tape.release(product.value)
        weighted = tape.operation(
            [(result.value, "new")],
            rows * hidden * result.element,
            EXPERTS,
            [result.value.buffer],
            before=(rows * hidden * result.element,),
        )
        tape.release(result.value, taken.value)
        # index_add_ in place: the gradient of the zeros is passed on, that of the result gathered.
        added = tape.operation(
            [(total.value, "same"), (weighted, "new")],
            0,
            EXPERTS,
            shares=total.value.buffer,
            grad_size=maker.tokens * hidden * x.element,
        )
        tape.release(weighted)
        total = maker.replaced(total, Tensor(added, x.element))
    tape.drop(chosen)
    return total


def _fused(maker: Maker, x: Tensor, experts: Experts) -> Tensor:
    # transformers integrations/moe.py grouped_mm_experts_forward: every token once for each of its experts.
    plan, tape = maker.plan, maker.tape
    hidden = plan.architecture.hidden
    rows = maker.tokens * experts.top_k
    element = plan.compute if plan.setup.autocast else x.element
    wide = rows * hidden * element
    layer_weights = experts.fused_params // max(1, experts.layers)
    first = layer_weights * 2 // 3
    router = tape.new(4 * maker.tokens * experts.count * 2, EXPERTS)
    folded = _folded(maker, {"gate_up": first, "down": layer_weights - first})
    chosen = tape.operation([(x.value, "new")], wide, EXPERTS, [router])
    joined = _grouped(maker, chosen, 2 * rows * experts.intermediate * element, first, folded.get("gate_up"))
    tape.release(chosen)
    product = gated_halves(maker, Tensor(joined, element), rows * experts.intermediate, EXPERTS)
    tape.release(joined)
    down = _grouped(maker, product.value, wide, layer_weights - first, folded.get("down"))
    tape.release(product.value, *folded.values())
    weighted = tape.operation([(down, "new")], wide, EXPERTS, [down.buffer])
    tape.release(down)
    # Its gradient is one of a sum, a broadcast view, which index_put_ makes contiguous (Indexing.cu).
    unsorted = tape.operation([(weighted, "new")], wide, EXPERTS, before=(wide,))
    tape.release(weighted)
    total = tape.operation([(unsorted, "new")], maker.tokens * hidden * x.element, EXPERTS)
    tape.release(unsorted)
    tape.drop(router)
    return Tensor(total, x.element)


def _folded(maker: Maker, weights: dict[str, int]) -> dict[str, Value]:
    # peft _LoraFactorsProxy.forward: W + scaling * lhs @ rhs, a tensor as large as W, until the layer's experts are done.
    plan = maker.plan
    found: dict[str, Value] = {}
    for adapter in plan.expert_adapters:
        if adapter.part in weights:
            found[adapter.part] = maker.tape.operation(
                [],
                weights[adapter.part] * plan.base,
                ADAPTER,
                weights=maker.gradients(adapter.elements(plan.setup.lora_r)),
                trained=True,
            )
    return found


def _grouped(maker: Maker, x: Value, size: int, weights: int, folded: Value | None) -> Value:
    """A product with the matrices of all experts, which a gradient of the weights needs its input for."""
    trained = maker.plan.full
    if folded is not None:
        return maker.tape.operation([(x, "new"), (folded, "new")], size, EXPERTS, [x.buffer, folded.buffer])
    return maker.tape.operation(
        [(x, "new")],
        size,
        EXPERTS,
        (x.buffer,) if trained else (),
        weights=maker.gradients(weights) if trained else (),
        trained=trained,
    )
