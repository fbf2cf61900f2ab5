"""A few layers, extended, are event for event what simulating every layer gives."""

from __future__ import annotations

from typing import Any

import pytest

from engine.fit.simulate.extend import Extender, Irregular
from engine.fit.simulate.layers import sketch
from engine.fit.simulate.trace import OUTSIDE, Recording
from engine.fit.types import TrainSetup
from tests.fit.simulated_step import record

pytestmark = pytest.mark.thorough

COMMON: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 512,
    "pad_token_id": 0,
}
LLAMA = {"model_type": "llama", **COMMON}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora, everything kept, dropout": {"gradient_checkpointing": False, "lora_dropout": 0.1},
    "4-bit": {"quantization": "nf4"},
    "8-bit": {"quantization": "int8"},
    "DoRA": {"dora": True},
    "full": {"tuning": "full"},
    "full, foreach, accumulation": {
        "tuning": "full",
        "optimizer": "adamw_torch",
        "gradient_accumulation": 2,
    },
    "full, 8-bit states": {"tuning": "full", "optimizer": "adamw_8bit"},
    "full, paged states": {"tuning": "full", "optimizer": "paged_adamw_8bit"},
    "full, adafactor": {"tuning": "full", "optimizer": "adafactor"},
    "eager attention": {"attention": "eager"},
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gemma3_text: local and global layers": {
        **COMMON,
        "model_type": "gemma3_text",
        "num_hidden_layers": 14,
        "sliding_window": 16,
    },
    "mixtral: experts and their auxiliary loss": {**COMMON, "model_type": "mixtral", "num_local_experts": 4},
    "deepseek_v3: dense first layer, latent attention": {
        **{key: value for key, value in COMMON.items() if key != "head_dim"},
        "model_type": "deepseek_v3",
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "moe_intermediate_size": 64,
        "first_k_dense_replace": 1,
        "q_lora_rank": 32,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 16,
        "qk_nope_head_dim": 16,
        "v_head_dim": 16,
    },
    "gpt2: other names, layer norm": {
        "model_type": "gpt2",
        "n_embd": 128,
        "n_layer": 7,
        "n_head": 4,
        "vocab_size": 512,
    },
    "falcon: one norm for both parts": {
        "model_type": "falcon",
        "hidden_size": 128,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "vocab_size": 512,
    },
}


def _compare(config: dict[str, Any], setup: TrainSetup) -> None:
    lengths = (40, 40, 24)
    every, _ = record(config, setup, lengths, full=True)
    few, plan = record(config, setup, lengths)
    assert len(plan.chosen) < plan.depth
    extender = Extender(plan)
    for number, (whole, part) in enumerate(zip(every, few, strict=True)):
        extended = extender.extend(part)
        assert extended.marks == whole.marks, f"recording {number}"
        assert len(extended.events) == len(whole.events), f"recording {number}"
        different = [
            (index, mine, its)
            for index, (mine, its) in enumerate(zip(extended.events, whole.events, strict=True))
            # The list of gradient norms has one number a tensor: both fit the smallest block.
            if mine != its and not (0 < mine < 4096 and 0 < its < 4096)
        ]
        assert not different, f"recording {number}: {different[:3]}"
        assert extended.allocations == whole.allocations


@pytest.mark.parametrize("method", METHODS)
def test_every_method_repeats_exactly(method: str) -> None:
    _compare(LLAMA, TrainSetup(batch=2, eval_batch=1, **METHODS[method]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kind_of_architecture_repeats_exactly(architecture: str) -> None:
    _compare(ARCHITECTURES[architecture], TrainSetup(batch=2))


def test_a_sketch_of_equal_layers_has_four() -> None:
    plan = sketch(["same"] * 80)
    assert plan.chosen == (0, 1, 2, 79)
    assert plan.depth == 80


def test_a_sketch_has_every_pair_of_neighbours() -> None:
    signatures = (["local"] * 5 + ["global"]) * 8
    plan = sketch(signatures)
    pairs = set(zip(plan.kinds, plan.kinds[1:], strict=False))
    short = set(zip(plan.short_kinds, plan.short_kinds[1:], strict=False))
    assert pairs == short
    assert len(plan.chosen) < 16
    assert [signatures[index] for index in plan.chosen] == [kind[2] for kind in plan.short_kinds]  # type: ignore[index]


def test_a_shallow_or_mixed_model_is_simulated_whole() -> None:
    assert sketch(["a"] * 3).complete
    assert sketch(list("abcdefg")).complete


def _recording(*layers: list[int]) -> Recording:
    """A recording in which each layer allocates these sizes and one allocation before is released at the end."""
    recording = Recording()
    outside = recording.allocate(100, OUTSIDE)
    made = []
    for label, sizes in enumerate(layers):
        made += [(recording.allocate(size, label), label) for size in sizes]
    for identity, label in reversed(made):
        recording.release(identity, label)
    recording.release(outside, OUTSIDE)
    return recording


def test_extension_repeats_the_inner_layer() -> None:
    plan = sketch(["same"] * 6)
    extended = Extender(plan).extend(_recording([1, 2], [3, 4], [3, 4], [5]))
    assert list(extended.events) == [
        *(100, 1, 2, *(3, 4) * 4, 5),
        *(-12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2),
        -1,
    ]


def test_inner_layers_that_differ_are_noticed() -> None:
    plan = sketch(["same"] * 6)
    with pytest.raises(Irregular, match="differ in size"):
        Extender(plan).extend(_recording([1, 2], [3, 4], [3, 9], [5]))
    with pytest.raises(Irregular, match="differ in length"):
        Extender(plan).extend(_recording([1, 2], [3, 4], [3], [5]))


def test_a_pass_that_skips_layers_is_noticed() -> None:
    recording = Recording()
    for label in (0, 1, 0, 1):
        recording.allocate(10, label)
    with pytest.raises(Irregular, match="a pass over layers"):
        Extender(sketch(["same"] * 6)).extend(recording)
