"""Attention and what stands in its place, with every kernel that may compute it."""

from __future__ import annotations

from dataclasses import replace

from engine.fit.maker import ADAPTER, ATTENTION, DEQUANTIZED, Maker, Tensor
from engine.fit.norms import norm
from engine.fit.plan import LayerShape
from engine.fit.projection import project
from engine.fit.tape import Buffer, Value
from engine.fit.types import Linear


def mix(maker: Maker, shape: LayerShape, x: Tensor) -> Tensor:
    if not shape.attention:
        return _other_mixer(maker, shape, x)
    plan, tape, arch = maker.plan, maker.tape, maker.plan.architecture
    out_linear = shape.linears["o"]
    width = out_linear.in_features
    kv_width = arch.kv_heads * arch.head_dim
    if "kv_b" in shape.linears:
        q, k, v, width, kv_width = _latent(maker, shape, x)
    elif plan.profile.joined_qkv and "q" in shape.linears:
        q, k, v = _joined_qkv(maker, shape, x)
    elif "qkv" in shape.linears:
        joined = project(maker, x, shape.linears["qkv"], ATTENTION)
        if arch.model_type == "falcon" and arch.kv_heads > 1:
            kv_width = width  # modeling_falcon.py _split_heads: keys and values are broadcast to all heads
        q = maker.view(joined, width)
        k = maker.view(joined, kv_width)
        v = maker.view(joined, kv_width)
        tape.release(joined.value)
        if (
            arch.model_type == "falcon"
        ):  # FalconAttention.forward: transpose(1, 2).reshape(...), which copies each
            q, k, v = _repeated(maker, q, width), _repeated(maker, k, kv_width), _repeated(maker, v, kv_width)
    elif plan.profile.fused_lora and plan.quantized and plan.is_target(shape.linears["q"]):
        q, k, v = _fused_qkv(maker, shape, x)
    else:
        q = project(maker, x, shape.linears["q"], ATTENTION)
        k = project(maker, x, shape.linears.get("k", shape.linears["q"]), ATTENTION)
        v = project(maker, x, shape.linears.get("v", shape.linears.get("k", shape.linears["q"])), ATTENTION)
    if arch.qk_norm:
        q = maker.replaced(q, norm(maker, q, width, arch.heads))
        k = maker.replaced(k, norm(maker, k, kv_width, arch.kv_heads))
    if arch.learned_positions == 0 and arch.model_type != "bloom":
        q = maker.replaced(q, _rotate(maker, q, width))
        k = maker.replaced(k, _rotate(maker, k, kv_width))
    attended = _attend(maker, q, k, v, width, kv_width)
    tape.release(q.value, k.value, v.value)
    if plan.profile.fused_lora and plan.quantized and plan.is_target(out_linear):
        result = _fused_out(maker, attended, out_linear)
    else:
        result = project(maker, attended, out_linear, ATTENTION)
    tape.release(attended.value)
    return result


def _rotate(maker: Maker, x: Tensor, width: int) -> Tensor:
    size = maker.tokens * width * x.element
    tape = maker.tape
    first = tape.new(size, ATTENTION)  # x * cos
    tape.pulse(size, size)  # rotate_half(x), and that times sin
    value = tape.operation([(x.value, "new")], size, ATTENTION, before=(size, size))
    tape.drop(first)
    return Tensor(value, x.element)


def _attend(maker: Maker, q: Tensor, k: Tensor, v: Tensor, width: int, kv_width: int) -> Tensor:
    plan, tape, arch = maker.plan, maker.tape, maker.plan.architecture
    backend = plan.backend
    # Flash attention takes 16 bits only; autocast casts for every kernel (autocast_mode.h lists sdpa and matmul).
    element = 2 if backend == "flash" or plan.setup.autocast else q.element
    grouped = kv_width != width
    repeat = grouped and (
        backend in ("efficient", "eager", "math")
        or (plan.setup.attention == "flash_attention_2" and arch.model_type in plan.profile.flash_repeats_kv)
        or (plan.setup.attention == "sdpa" and not plan.profile.sdpa_gqa and not plan.setup.compiled)
    )
    # Repeated first, then cast. One head repeated is a view, until it is cast.
    copies = repeat and kv_width > arch.head_dim
    kv_width = width if copies or (repeat and k.element != element) else kv_width
    parts = [_cast(maker, q, maker.tokens * width, element)]
    for item in (k, v):
        if copies:
            whole = _copied(maker, item, width)
            parts.append(_cast(maker, whole, maker.tokens * width, element))
            tape.release(whole.value)
        else:
            parts.append(_cast(maker, item, maker.tokens * kv_width, element))
    q, k, v = parts
    rows = 4 * arch.heads * maker.tokens
    size = maker.tokens * width * element
    if backend == "eager":
        result = _eager(maker, q, k, v, size)
    elif backend == "math":
        result = _math(maker, q, k, v, width)
    else:
        statistics = tape.new(rows, ATTENTION)
        kept = [q.value.buffer, k.value.buffer, v.value.buffer, statistics]
        mask: Buffer | None = None
        if plan.masked and backend == "efficient" and plan.profile.mask_bytes == 1:
            # A boolean mask becomes an additive one in every call (attention.cpp: convert_boolean_attn_mask).
            setup = plan.setup
            mask = tape.new(element * setup.batch * setup.seq_len * setup.seq_len, ATTENTION)
            kept.append(mask)
        # flash_api.cpp mha_bwd: softmax_d and a float32 accumulator of dq, and for grouped heads expanded dk, dv.
        expanded = (size, size) if grouped and not copies else ()
        value = tape.operation(
            [(q.value, "new"), (k.value, "new"), (v.value, "new")],
            size,
            ATTENTION,
            kept,
            before=(rows, 4 * maker.tokens * width, *expanded),
            saves_result=True,
        )
        tape.drop(statistics)
        if mask is not None:
            tape.drop(mask)
        result = Tensor(value, element)
    tape.release(q.value, k.value, v.value)
    return result


def _cast(maker: Maker, x: Tensor, elements: int, element: int) -> Tensor:
    if x.element == element:
        maker.tape.hold(x.value.buffer)
        return x
    return Tensor(maker.tape.operation([(x.value, "new")], elements * element, ATTENTION), element)


def _copied(maker: Maker, x: Tensor, width: int) -> Tensor:
    return Tensor(
        maker.tape.operation([(x.value, "new")], maker.tokens * width * x.element, ATTENTION), x.element
    )


def _repeated(maker: Maker, x: Tensor, width: int) -> Tensor:
    return maker.replaced(x, _copied(maker, x, width))


def _eager(maker: Maker, q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    # transformers eager_attention_forward: scores, scaled, masked, softmax in float32, cast, times the values.
    plan, tape = maker.plan, maker.tape
    setup, arch = plan.setup, plan.architecture
    square = setup.batch * arch.heads * setup.seq_len * setup.seq_len
    element = q.element
    scores = tape.operation(
        [(q.value, "new"), (k.value, "new")],
        square * element,
        ATTENTION,
        [q.value.buffer, k.value.buffer],
    )
    steps = ["scaled", "masked"]
    if arch.softcap:  # divided, tanh (keeps its result), multiplied
        steps[1:1] = ["divided", "tanh", "multiplied"]
    for step in steps:
        after = tape.operation(
            [(scores, "same" if step == "masked" else "new")],
            square * element,
            ATTENTION,
            saves_result=step == "tanh",
        )
        tape.release(scores)
        scores = after
    if arch.attention_sinks:
        soft = _softmax_with_sinks(maker, scores, square * element)
    else:
        soft = _softmax(maker, scores, square, element)
    tape.release(scores)
    out = tape.operation([(soft, "new"), (v.value, "new")], size, ATTENTION, [soft.buffer, v.value.buffer])
    tape.release(soft)
    contiguous = tape.operation([(out, "same")], size, ATTENTION)
    tape.release(out)
    return Tensor(contiguous, element)


def _softmax(maker: Maker, scores: Value, square: int, element: int) -> Value:
    tape, wide = maker.tape, scores
    if element != 4 and maker.plan.setup.dtype != "float16":
        # SoftMax.cpp: only float16 is cast within the kernel
        wide = tape.operation([(scores, "new")], 4 * square, ATTENTION)
    soft = tape.operation([(wide, "new")], 4 * square, ATTENTION, saves_result=True)
    if wide is not scores:
        tape.release(wide)
    if element == 4:
        return soft
    narrow = tape.operation([(soft, "new")], square * element, ATTENTION)
    tape.release(soft)
    return narrow


def _softmax_with_sinks(maker: Maker, scores: Value, size: int) -> Value:
    # modeling_gpt_oss.py eager_attention_forward: joined with the sinks, without the maximum, softmax in the same
    # format; what is multiplied is a view of its result.
    tape = maker.tape
    joined = tape.operation([(scores, "new")], size, ATTENTION)
    # The maximum's gradient is spread over zeros of the same size.
    centred = tape.operation([(joined, "same"), (joined, "new")], size, ATTENTION)
    tape.release(joined)
    soft = tape.operation([(centred, "new")], size, ATTENTION, saves_result=True)
    tape.release(centred)
    kept = tape.operation([(soft, "new")], 0, ATTENTION, shares=soft.buffer, grad_size=size)
    tape.release(soft)
    return kept


def _math(maker: Maker, q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    # attention.cpp _scaled_dot_product_attention_math: everything in float32, scaled queries and keys, and a mask
    # added in place; _safe_softmax keeps its result.
    plan, tape = maker.plan, maker.tape
    setup, arch = plan.setup, plan.architecture
    square = 4 * setup.batch * arch.heads * setup.seq_len * setup.seq_len
    wide = 4 * maker.tokens * width
    element = q.element
    q, v = (_cast(maker, item, maker.tokens * width, 4) for item in (q, v))
    scaled = [tape.operation([(item.value, "new")], wide, ATTENTION) for item in (q, k)]
    mask = tape.new(4 * setup.seq_len * setup.seq_len, ATTENTION)
    scores = tape.operation(
        [(item, "new") for item in scaled], square, ATTENTION, [item.buffer for item in scaled]
    )
    tape.release(*scaled)
    soft = tape.operation([(scores, "new")], square, ATTENTION, saves_result=True)
    tape.release(scores)
    out = tape.operation([(soft, "new"), (v.value, "new")], wide, ATTENTION, [soft.buffer, v.value.buffer])
    tape.release(soft, q.value, v.value)
    tape.drop(mask)
    result = _cast(maker, Tensor(out, 4), maker.tokens * width, element)
    tape.release(out)
    return result


def _latent(maker: Maker, shape: LayerShape, x: Tensor) -> tuple[Tensor, Tensor, Tensor, int, int]:
    # DeepSeek: queries and keys are put together from parts, so each is a new tensor over all heads.
    tape, arch, linears = maker.tape, maker.plan.architecture, shape.linears
    if "q_a" in linears:
        narrow = project(maker, x, linears["q_a"], ATTENTION)
        normed = norm(maker, narrow, linears["q_a"].out_features, 1)
        tape.release(narrow.value)
        q = project(maker, normed, linears["q"], ATTENTION)
        tape.release(normed.value)
    else:
        q = project(maker, x, linears["q"], ATTENTION)
    joined = project(maker, x, linears["kv_a"], ATTENTION)
    normed = norm(maker, joined, linears["kv_b"].in_features, 1)
    tape.release(joined.value)
    both = project(maker, normed, linears["kv_b"], ATTENTION)
    tape.release(normed.value)
    width = linears["q"].out_features
    k = _repeated(maker, maker.view(both, width), width)
    v = maker.view(both, arch.heads * arch.value_dim)
    tape.release(both.value)
    return q, k, v, width, width


def _other_mixer(maker: Maker, shape: LayerShape, x: Tensor) -> Tensor:
    # An estimate: the projections, their convolved copies, and float32 copies inside the scan.
    tape = maker.tape
    width = sum(linear.out_features for linear in shape.mixer_in) or maker.plan.architecture.hidden
    parts = [project(maker, x, linear, ATTENTION) for linear in shape.mixer_in]
    kept = [part.value.buffer for part in parts]
    copies = [tape.new(maker.tokens * width * size, ATTENTION) for size in (x.element, x.element, 4, 4, 4)]
    out_linear = shape.linears["o"]
    mixed = tape.operation(
        [(part.value, "new") for part in parts] or [(x.value, "new")],
        maker.tokens * out_linear.in_features * x.element,
        ATTENTION,
        [*kept, *copies],
        before=(4 * maker.tokens * width, 4 * maker.tokens * width),
    )
    for copy in copies:
        tape.drop(copy)
    tape.release(*(part.value for part in parts))
    result = project(maker, Tensor(mixed, x.element), out_linear, ATTENTION)
    tape.release(mixed)
    return result


def _fused_qkv(maker: Maker, shape: LayerShape, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # One autograd function keeps its input and, with dropout, one dropped copy for each of the three.
    plan, tape = maker.plan, maker.tape
    linears = [shape.linears[name] for name in ("q", "k", "v")]
    size = maker.tokens * plan.architecture.hidden * x.element
    copies = [tape.new(size, ADAPTER) for _ in linears] if plan.setup.lora_dropout > 0 else []
    results = []
    for position, linear in enumerate(linears):
        tape.pulse(linear.weights * plan.compute, kind=DEQUANTIZED)
        trained = (linear.in_features + linear.out_features) * plan.setup.lora_r
        value = tape.operation(
            [(x.value, "new" if position == 0 else "none")],
            maker.tokens * linear.out_features * x.element,
            ATTENTION,
            [x.value.buffer, *copies] if position == 0 else (),
            before=(linear.weights * plan.compute, size),
            weights=maker.gradients(trained),
            trained=True,
        )
        results.append(Tensor(value, x.element))
    for copy in copies:
        tape.drop(copy)
    return results[0], results[1], results[2]


def _fused_out(maker: Maker, x: Tensor, linear: Linear) -> Tensor:
    plan, tape = maker.plan, maker.tape
    size = maker.tokens * linear.in_features * x.element
    copy = tape.new(size, ADAPTER) if plan.setup.lora_dropout > 0 else None
    tape.pulse(linear.weights * plan.compute, kind=DEQUANTIZED)
    trained = (linear.in_features + linear.out_features) * plan.setup.lora_r
    value = tape.operation(
        [(x.value, "new")],
        maker.tokens * linear.out_features * x.element,
        ATTENTION,
        [x.value.buffer, *((copy,) if copy else ())],
        before=(linear.weights * plan.compute, size),
        weights=maker.gradients(trained),
        trained=True,
    )
    if copy is not None:
        tape.drop(copy)
    return Tensor(value, x.element)


def _joined_qkv(maker: Maker, shape: LayerShape, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # lit_gpt/lora.py LoRAQKVLinear: one dropped copy for all; zero_pad's index_copy keeps its source.
    plan, tape = maker.plan, maker.tape
    linears = [shape.linears[name] for name in ("q", "k", "v") if name in shape.linears]
    whole = replace(linears[0], name="qkv", out_features=sum(item.out_features for item in linears))
    trained = [item for item in linears if plan.is_target(item)]
    joined = project(maker, x, whole, ATTENTION)
    if trained:
        elements = maker.tokens * x.element
        copies = []
        if plan.setup.lora_dropout > 0:
            copies = [
                tape.new(maker.tokens * whole.in_features, ADAPTER),
                tape.new(elements * whole.in_features, ADAPTER),
            ]
        copies.append(tape.new(elements * sum(item.out_features for item in trained), ADAPTER))
        rank = plan.setup.lora_r * sum(item.in_features + item.out_features for item in trained)
        size = elements * whole.out_features
        tape.pulse(size, size)
        value = tape.operation(
            [(joined.value, "same"), (x.value, "new")],
            size,
            ATTENTION,
            copies,
            before=(size, size),
            weights=maker.gradients(rank),
            trained=True,
        )
        tape.release(joined.value)
        for copy in copies:
            tape.drop(copy)
        joined = Tensor(value, x.element)
    q, k, v = (maker.view(joined, item.out_features) for item in (linears * 3)[:3])
    tape.release(joined.value)
    return q, k, v
