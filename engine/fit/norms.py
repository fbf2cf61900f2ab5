"""Normalisations: what each kind computes in float32 and keeps for the backward pass."""

from __future__ import annotations

from engine.fit.maker import NORMS, Maker, Tensor
from engine.fit.tape import Buffer


def norm(maker: Maker, x: Tensor, width: int, heads: int, tokens: int | None = None) -> Tensor:
    """A normalisation over ``width`` in total, cut into ``heads`` parts."""
    plan, tape = maker.plan, maker.tape
    rows = maker.tokens if tokens is None else tokens
    elements = rows * width
    wide = 4 * elements
    trained = plan.full
    weights = maker.gradients(-(-width // heads)) if trained else ()
    statistics = tape.new(4 * rows * heads, NORMS)
    if plan.architecture.norm in ("layer", "olmo"):
        return _layer_norm(maker, x, elements, rows, weights, statistics)
    if plan.architecture.norm == "cohere":
        return _cohere_norm(maker, x, wide, elements, weights, statistics)
    if plan.profile.fused_norm or plan.setup.compiled:
        value = tape.operation(
            [(x.value, "new")],
            elements * x.element,
            NORMS,
            [x.value.buffer, statistics],
            weights=weights,
            trained=trained,
        )
        tape.drop(statistics)
        return Tensor(value, x.element)
    source = x.value if x.element == 4 else tape.operation([(x.value, "new")], wide, NORMS)  # .to(float32)
    tape.pulse(wide)  # pow(2), gone after the mean
    scaled = tape.new(wide, NORMS)
    gemma = plan.architecture.norm == "gemma"
    out_element = 4 if plan.norms_float32 else x.element
    if gemma:  # output * (1 + weight.float()), then back to the input's format
        product = tape.new(wide, NORMS)
        kept = scaled if trained else None
        value = tape.operation(
            [(source, "new")],
            elements * x.element if x.element != 4 else wide,
            NORMS,
            [source.buffer, statistics, *((kept,) if kept else ())],
            before=(wide, wide, wide),
            weights=weights,
            trained=trained,
        )
        out_element = x.element
        tape.drop(product)
        tape.drop(scaled)
    else:
        narrow = scaled if x.element == 4 else tape.new(elements * x.element, NORMS)
        if narrow is not scaled:
            tape.drop(scaled)
        value = tape.operation(
            [(source, "new")],
            elements * out_element,
            NORMS,
            [source.buffer, statistics, *((narrow,) if trained else ())],
            before=(wide, wide, wide),
            weights=weights,
            trained=trained,
        )
        tape.drop(narrow)
    tape.drop(statistics)
    if source is not x.value:
        tape.release(source)
    return Tensor(value, out_element)


def _cohere_norm(
    maker: Maker,
    x: Tensor,
    wide: int,
    elements: int,
    weights: tuple[tuple[int, str], ...],
    statistics: Buffer,
) -> Tensor:
    # CohereLayerNorm.forward subtracts the mean twice in float32, and keeps both differences.
    tape, trained = maker.tape, maker.plan.full
    source = tape.operation([(x.value, "new")], wide, NORMS)
    differences = [tape.new(wide, NORMS), tape.new(wide, NORMS)]
    tape.pulse(wide)
    scaled = tape.new(wide, NORMS)
    tape.pulse(wide)
    value = tape.operation(
        [(source, "new")],
        elements * x.element,
        NORMS,
        [*differences, statistics, *((scaled,) if trained else ())],
        before=(wide, wide, wide),
        weights=weights,
        trained=trained,
    )
    for buffer in (*differences, scaled, statistics):
        tape.drop(buffer)
    tape.release(source)
    return Tensor(value, x.element)


def _layer_norm(
    maker: Maker,
    x: Tensor,
    elements: int,
    rows: int,
    weights: tuple[tuple[int, str], ...],
    statistics: Buffer,
) -> Tensor:
    # aten/src/ATen/autocast_mode.h lists layer_norm among the operations that autocast runs in float32.
    tape = maker.tape
    more = tape.new(4 * rows, NORMS)
    narrow = (
        maker.plan.architecture.norm == "olmo"
    )  # modeling_olmo.py OlmoLayerNorm.forward: to float32 and back
    cast = (maker.plan.setup.autocast or narrow) and x.element != 4
    source = tape.operation([(x.value, "new")], 4 * elements, NORMS) if cast else x.value
    element = 4 if cast else x.element
    value = tape.operation(
        [(source, "new")],
        elements * element,
        NORMS,
        [source.buffer, statistics, more],
        weights=weights,
        trained=bool(weights) or maker.plan.full,
    )
    tape.drop(statistics)
    tape.drop(more)
    if cast:
        tape.release(source)
    if narrow and cast:
        back = tape.operation([(value, "new")], elements * x.element, NORMS)
        tape.release(value)
        return Tensor(back, x.element)
    return Tensor(value, element)
