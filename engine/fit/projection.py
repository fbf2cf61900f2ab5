"""Linears: plain, quantized, and with the adapters that PEFT puts on them."""

from __future__ import annotations

from engine.fit.maker import ADAPTER, DEQUANTIZED, TEMPORARY, Maker, Tensor
from engine.fit.tape import Buffer
from engine.fit.types import Linear


def project(
    maker: Maker, x: Tensor, linear: Linear, kind: str, tokens: int | None = None, copies: int = 1
) -> Tensor:
    """A linear with its adapter, if it has one.

    Args:
        maker: The run.
        x: What it reads.
        linear: Its sizes.
        kind: The part its results belong to.
        tokens: Rows of ``x``; all tokens when left out.
        copies: It stands for so many linears, each with a gradient.
    """
    plan, tape = maker.plan, maker.tape
    rows = maker.tokens if tokens is None else tokens
    out = _base(maker, x, linear, kind, rows, copies)
    if not plan.is_target(linear):
        return out
    if plan.is_quantized(linear) and plan.profile.adapter_clones_quantized:
        clone = tape.operation([(out.value, "same")], rows * linear.out_features * out.element, kind)
        tape.release(out.value)
        out = Tensor(clone, out.element)
    return _adapter(maker, x, out, linear, kind, rows, copies)


def _base(maker: Maker, x: Tensor, linear: Linear, kind: str, rows: int, copies: int) -> Tensor:
    plan, tape = maker.plan, maker.tape
    out_elements = rows * linear.out_features
    if plan.is_quantized(linear):
        return _quantized(maker, x, linear, kind, rows)
    # Under autocast a linear casts what it reads to 16 bits; a trained weight needs that cast for its gradient.
    element = plan.compute if plan.setup.autocast else x.element
    source = x.value
    if element != x.element:
        source = tape.operation([(x.value, "new")], rows * linear.in_features * element, kind)
    trained = plan.full
    copy: Buffer | None = None
    if trained and plan.setup.autocast and plan.base == 4 and not plan.sharded:
        # torch/aten/src/ATen/autocast_mode.cpp keeps the cast of a trained float32 weight until autocast ends.
        copy = tape.new(linear.weights * element, "16-bit copies of weights")
    # A gradient of a cast weight is in 16 bits first; under sharding it stays so until it is scattered.
    narrow = trained and (maker.accumulating or copy is not None)
    value = tape.operation(
        [(source, "new")],
        out_elements * element,
        kind,
        [*((source.buffer,) if trained else ()), *((copy,) if copy else ())],
        after=(linear.weights * element,) if narrow else (),
        weights=maker.gradients(copies * linear.weights) if trained else (),
        trained=trained,
    )
    if copy is not None:
        tape.drop(copy)
    if source is not x.value:
        tape.release(source)
    return Tensor(value, element)


def _quantized(maker: Maker, x: Tensor, linear: Linear, kind: str, rows: int) -> Tensor:
    plan, tape = maker.plan, maker.tape
    if not plan.four_bit:
        return _eight_bit(maker, x, linear, kind, rows)
    element = plan.compute
    in_elements, out_elements = rows * linear.in_features, rows * linear.out_features
    source = x.value
    if element != x.element:  # bitsandbytes Linear4bit.forward: x.to(compute_dtype)
        source = tape.operation([(x.value, "new")], in_elements * element, kind)
    weight = tape.new(plan.dequantized(linear), DEQUANTIZED)
    value = tape.operation(
        [(source, "new")],
        out_elements * element,
        kind,
        (source.buffer,) if plan.profile.bnb4_keeps_input else (),
        before=(plan.dequantized(linear),),
    )
    tape.drop(weight)
    if source is not x.value:
        tape.release(source)
    if element == x.element:
        return Tensor(value, element)
    # ... .to(inp_dtype)
    wide = tape.operation([(value, "new")], out_elements * x.element, kind)
    tape.release(value)
    return Tensor(wide, x.element)


def _eight_bit(maker: Maker, x: Tensor, linear: Linear, kind: str, rows: int) -> Tensor:
    # bitsandbytes autograd/_functions.py MatMul8bitLt.forward, which autocast does not touch, so input and result have
    # one format. backends/cuda/ops.py int8_vectorwise_quant: a float16 copy of the input, its rows in int8, and for
    # finding outliers its absolute values and a mask.
    plan, tape = maker.plan, maker.tape
    in_elements, out_elements = rows * linear.in_features, rows * linear.out_features
    half = 2 * in_elements if plan.setup.dtype != "float16" or x.element == 4 else 0
    tape.pulse(half, in_elements, 2 * in_elements, in_elements)
    # backends/default/ops.py int8_mixed_scaled_mm: int32 sums, those in float16, those in the input's format; then the
    # columns with outliers are added.
    packed = tape.new(in_elements, TEMPORARY)
    tape.pulse(4 * out_elements, 2 * out_elements, out_elements * x.element)
    product = tape.new(out_elements * x.element, TEMPORARY)
    kept = [x.value.buffer] if plan.profile.bnb8_keeps_input else []
    columns = tape.new(x.element * outliers(linear, rows), kind)
    value = tape.operation(
        [(x.value, "new")],
        out_elements * x.element,
        kind,
        [*kept, columns],
        before=(linear.weights * x.element,),
    )
    for buffer in (columns, product, packed):
        tape.drop(buffer)
    return Tensor(value, x.element)


def outliers(linear: Linear, rows: int) -> int:
    """Elements of the input's columns with outliers, which an 8-bit linear keeps in the input's format.

    How many there are depends on the data; the LLM.int8 paper counts below one in a hundred.
    """
    return rows * max(1, linear.in_features // 100)


def _adapter(
    maker: Maker, x: Tensor, result: Tensor, linear: Linear, kind: str, rows: int, copies: int
) -> Tensor:
    plan, tape, setup = maker.plan, maker.tape, maker.plan.setup
    elements, out_elements = rows * linear.in_features, rows * linear.out_features
    casts = plan.profile.adapter_casts_input and not (plan.is_quantized(linear) and setup.autocast)
    source = x
    if casts and x.element != plan.adapter:
        source = Tensor(tape.operation([(x.value, "new")], elements * plan.adapter, ADAPTER), plan.adapter)
    dropped = source
    if setup.lora_dropout > 0:
        mask = tape.new(elements, ADAPTER)
        value = tape.operation([(source.value, "new")], elements * source.element, ADAPTER, [mask])
        dropped = Tensor(value, source.element)
        tape.drop(mask)
    if setup.dora:
        added = _dora(maker, dropped, result, linear, kind, rows)
    else:
        added = _scaled(maker, _product(maker, dropped, linear, kind, rows, copies), out_elements, kind)
    if dropped is not source:
        tape.release(dropped.value)
    total = maker.add(result, added, out_elements, kind)
    tape.release(result.value, added.value)
    if source is not x:
        tape.release(source.value)
    if total.element != result.element:
        back = tape.operation([(total.value, "new")], out_elements * result.element, kind)
        tape.release(total.value)
        total = Tensor(back, result.element)
    return total


def _product(maker: Maker, x: Tensor, linear: Linear, kind: str, rows: int, copies: int = 1) -> Tensor:
    """``lora_B(lora_A(x))``."""
    plan, tape, rank = maker.plan, maker.tape, maker.plan.setup.lora_r
    work = plan.compute if plan.setup.autocast else plan.adapter
    read = x.value
    if x.element != work:
        read = tape.operation([(x.value, "new")], rows * linear.in_features * work, ADAPTER)
    inner = tape.operation(
        [(read, "new")],
        rows * rank * work,
        ADAPTER,
        [read.buffer],
        weights=maker.gradients(copies * linear.in_features * rank),
        trained=True,
    )
    if read is not x.value:
        tape.release(read)
    outer = tape.operation(
        [(inner, "new")],
        rows * linear.out_features * work,
        kind,
        [inner.buffer],
        weights=maker.gradients(copies * linear.out_features * rank),
        trained=True,
    )
    tape.release(inner)
    return Tensor(outer, work)


def _scaled(maker: Maker, x: Tensor, elements: int, kind: str) -> Tensor:
    return maker.replaced(
        x, Tensor(maker.tape.operation([(x.value, "new")], elements * x.element, kind), x.element)
    )


def _dora(maker: Maker, x: Tensor, result: Tensor, linear: Linear, kind: str, rows: int) -> Tensor:
    """peft/tuners/lora/dora.py DoraLinearLayer.forward, in its order."""
    plan, tape = maker.plan, maker.tape
    out_elements = rows * linear.out_features
    work = plan.compute if plan.setup.autocast else plan.adapter
    # Held to the end: a unit matrix as wide as the input, the product of both adapter matrices, the dequantized weight.
    held = [
        tape.new(linear.in_features**2 * plan.adapter, ADAPTER),
        tape.new(linear.weights * work, ADAPTER),
    ]
    if work != x.element:
        held.append(tape.new(linear.weights * x.element, ADAPTER))
    element = (plan.compute if plan.four_bit else 4) if plan.is_quantized(linear) else plan.base
    if plan.is_quantized(linear) or element != x.element:
        held.append(tape.new(linear.weights * x.element, DEQUANTIZED))
    tape.pulse(
        linear.weights * x.element, linear.weights * x.element
    )  # the scaled product, and its sum with the weight
    outer = _product(maker, x, linear, kind, rows)
    base = result
    if (
        plan.setup.lora_dropout > 0
    ):  # the base's result for the dropped input; its backward pass needs that weight
        copy = held[-1:] if len(held) > 2 else []
        base = Tensor(tape.operation([(x.value, "new")], out_elements * x.element, kind, copy), x.element)
    trained = maker.gradients(linear.out_features)
    parts = []
    for value in (base, outer):  # times the magnitude, which wants a gradient, so both factors are kept
        wide = max(value.element, plan.adapter)
        size = out_elements * wide
        product = tape.operation(
            [(value.value, "new")],
            size,
            kind,
            [value.value.buffer],
            before=(size,),
            weights=trained,
            trained=True,
        )
        parts.append(Tensor(product, wide))
        trained = ()
    if base is not result:
        tape.release(base.value)
    tape.release(outer.value)
    parts[1] = _scaled(maker, parts[1], out_elements, kind)
    total = maker.add(parts[0], parts[1], out_elements, kind)
    tape.release(parts[0].value, parts[1].value)
    for buffer in held:
        tape.drop(buffer)
    return total
