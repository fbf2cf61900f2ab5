"""Made-up answers: what it takes to write many at once, which learning from rewards does before every step."""

from __future__ import annotations

from dataclasses import replace

from engine.fit.head import LOGITS
from engine.fit.layer import run_layer
from engine.fit.maker import STREAM, Maker, Tensor
from engine.fit.plan import LayerShape, Plan
from engine.fit.tape import Tape, Value

CACHE = "keys and values of the answers"
_IDS = 8  # bytes of a token's number, and of its place in the attention mask


def generating(plan: Plan, resident: dict[str, int]) -> dict[str, int] | None:
    """The heaviest moment while answers are written; None where none are.

    transformers generation/utils.py ``_sample``: the prompts of all answers go through the model at once, then one token
    of each at a time; keys and values of every token stay, and the keys of the layer at work are there twice while the new
    one is put behind them (cache_utils.py ``DynamicLayer.update``).

    Args:
        plan: The run.
        resident: What is in memory the whole time, by parts.
    """
    setup, arch = plan.setup, plan.architecture
    if not setup.answers:
        return None
    rows, prompt = setup.answers, max(1, setup.seq_len - setup.answer_length)
    scores = (
        rows * arch.vocab * (plan.compute + 4 + 4)
    )  # logits, in float32 as accelerate returns them, and a copy
    ids = 2 * _IDS * rows * setup.seq_len
    reading = replace(
        plan, setup=replace(setup, batch=rows, seq_len=prompt, gradient_checkpointing=False, lines=False)
    )
    # The embeddings stay until the last layer is through (the model's forward still names them).
    size = rows * prompt * arch.hidden * plan.stream
    masks = (
        plan.profile.mask_bytes * rows * prompt * prompt if reading.masked and plan.backend != "flash" else 0
    )
    inputs = {"token ids, masks and positions": ids + masks, STREAM: size}
    tape = Tape({**resident, **inputs, CACHE: _cached(plan, rows, prompt)}, learning=False)
    maker = Maker(tape, reading)
    for shape in plan.shapes:
        x = Tensor(Value(tape.new(size, STREAM), size, False), plan.stream)
        result = run_layer(maker, shape, x)
        tape.release(x.value, result.value)
    last = max(_layer(plan, shape, rows, setup.seq_len) for shape in plan.shapes)
    # The fused kernels read grouped keys as they are (sdpa_attention.py pack_gqa), the plain computation repeats them.
    repeated = last * arch.heads // max(1, arch.kv_heads) if plan.backend == "eager" else 0
    kept = _cached(plan, rows, setup.seq_len)
    writing = {**resident, CACHE: kept + max(last // 2, repeated), "token ids, masks and positions": ids}
    picking = {**resident, CACHE: kept, "token ids, masks and positions": ids, LOGITS: scores}
    return max(tape.parts, writing, picking, key=lambda parts: sum(parts.values()))


def _cached(plan: Plan, rows: int, length: int) -> int:
    return sum(shape.count * _layer(plan, shape, rows, length) for shape in plan.shapes)


def _layer(plan: Plan, shape: LayerShape, rows: int, length: int) -> int:
    """Bytes of one layer's keys and values; local layers keep a window only, in models that have no others."""
    arch = plan.architecture
    if not shape.attention:
        return 0
    if arch.sliding_window and not arch.full_attention_layers:
        length = min(length, arch.sliding_window)
    width = arch.head_dim + (arch.value_dim or arch.head_dim)
    return rows * length * arch.kv_heads * width * plan.compute
