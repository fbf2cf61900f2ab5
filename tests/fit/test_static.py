"""Weights, adapters and optimizer states, against counts made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.fit.architecture import from_catalogue
from engine.fit.plan import make_plan
from engine.fit.profiles import load
from engine.fit.static import Static, measure, trained_tensors
from engine.fit.types import Architecture, TrainSetup

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def known(model_id: str) -> Architecture:
    found = from_catalogue(model_id)
    assert found is not None
    return found


def static(model_id: str, profile: str = "finetui", **setup: Any) -> Static:
    return measure(make_plan(known(model_id), TrainSetup(**setup), load(profile)))


def test_sixteen_bit_weights_are_two_bytes_a_parameter() -> None:
    assert static("mistralai/Mistral-7B-v0.1").weights == 2 * 7_241_732_096


def test_nf4_packs_the_linears_and_leaves_the_rest() -> None:
    found = static("mistralai/Mistral-7B-v0.1", quantization="nf4")
    linears = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert found.quantized == linears // 2
    assert found.weights == 2 * (7_241_732_096 - linears)
    # A byte for 64 weights, four for 256 of those, and small tables; each rounded to 512 bytes.
    exact = linears // 64 + 4 * linears // (64 * 256)
    assert exact <= found.scales <= exact + 32 * 7 * 4 * KIB
    plain = static("mistralai/Mistral-7B-v0.1", quantization="nf4", double_quant=False)
    assert linears // 16 <= plain.scales <= linears // 16 + 32 * 7 * 2 * KIB


def test_int8_is_one_byte_a_weight_and_a_scale_a_row() -> None:
    found = static("mistralai/Mistral-7B-v0.1", quantization="int8")
    assert found.quantized == 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert found.scales == 32 * 4 * (4096 + 1024 + 1024 + 4096 + 14336 + 14336 + 4096)


@pytest.mark.parametrize(
    ("targets", "elements"),
    [
        (ATTENTION, 32 * 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024))),
        (("all-linear",), 32 * 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336))),
        (("q_proj",), 32 * 16 * (4096 + 4096)),
        (("self_attn.q_proj",), 32 * 16 * (4096 + 4096)),
        (("mlp.q_proj",), 0),
    ],
)
def test_adapters_are_rank_times_in_plus_out(targets: tuple[str, ...], elements: int) -> None:
    found = static("mistralai/Mistral-7B-v0.1", lora_targets=targets)
    assert found.trained == elements
    assert found.adapters == 2 * elements


def test_a_magnitude_a_row_with_dora() -> None:
    with_dora = static("mistralai/Mistral-7B-v0.1", lora_targets=ATTENTION, dora=True)
    without = static("mistralai/Mistral-7B-v0.1", lora_targets=ATTENTION)
    assert with_dora.trained - without.trained == 32 * (4096 + 1024 + 1024 + 4096)


def test_adapters_are_float32_where_peft_casts_them() -> None:
    assert static("mistralai/Mistral-7B-v0.1", "hf-4.48", lora_targets=ATTENTION).adapters == 4 * 13_631_488


def test_fused_projections_change_adapters() -> None:
    # Phi-3: one linear for queries, keys and values, one for gate and up.
    found = static("microsoft/Phi-3-mini-4k-instruct", lora_r=8)
    assert found.trained == 32 * 8 * ((3072 + 9216) + (3072 + 3072) + (3072 + 16384) + (8192 + 3072))


def test_fused_experts_get_neither_adapters_nor_four_bits() -> None:
    found = static("Qwen/Qwen3-30B-A3B", quantization="nf4")
    experts = 48 * 128 * 3 * 2048 * 768
    assert found.weights > 2 * experts
    assert found.quantized < GIB
    apart = static("Qwen/Qwen3-30B-A3B", "hf-4.52", quantization="nf4")
    assert apart.weights == found.weights or apart.weights > GIB


@pytest.mark.parametrize(
    ("optimizer", "bytes_each"),
    [
        ("adamw_torch", 4.0),
        ("adamw_torch_fused", 4.0),
        ("sgd", 0.0),
        ("paged_adamw_32bit", 0.0),
        ("lion_32bit", 2.0),
        ("adamw_torch_4bit", 1.0 + 2 * 4 / 128),
    ],
)
def test_optimizer_states_a_parameter(optimizer: str, bytes_each: float) -> None:
    found = static("meta-llama/Llama-3.2-3B", tuning="full", optimizer=optimizer)
    assert found.states / found.trained == pytest.approx(bytes_each, rel=0.002)


def test_foreach_needs_a_copy_and_fused_does_not() -> None:
    full = {"tuning": "full"}
    slow = static("meta-llama/Llama-3.2-3B", **full, optimizer="adamw_torch")
    fused = static("meta-llama/Llama-3.2-3B", **full, optimizer="adamw_torch_fused")
    assert slow.step_copy >= 2 * slow.trained
    assert fused.step_copy == 0


def test_eight_bit_states_spare_embeddings_and_small_tensors() -> None:
    found = static("Qwen/Qwen3-0.6B", tuning="full", optimizer="adamw_8bit")
    embedding = 151_936 * 1024
    norms = (28 * 2 + 1) * 1024 + 28 * 2 * 128
    linears = found.trained - embedding - norms
    assert found.states == pytest.approx(8 * embedding + 8 * norms + (2 + 8 / 256) * linears, rel=1e-4)
    paged = static("Qwen/Qwen3-0.6B", tuning="full", optimizer="paged_adamw_8bit")
    assert paged.paged == 8 * embedding + 2 * linears
    assert paged.states + paged.paged == found.states


def test_adafactor_keeps_a_sum_a_row_and_a_column_and_steps_in_float32() -> None:
    found = static("Qwen/Qwen3-0.6B", tuning="full", optimizer="adafactor")
    layer = 2 * (1024 + 2048) + 2 * (1024 + 1024) + 3 * (1024 + 3072)
    norms = (28 * 2 + 1) * 1024 + 28 * 2 * 128
    assert found.states == pytest.approx(4 * (28 * layer + 151_936 + 1024 + norms), rel=1e-4)
    assert (
        found.step_copy == 16 * 151_936 * 1024
    )  # gradient, weight, update and its negative of the embedding


def test_sharding_spreads_weights_but_not_scales() -> None:
    whole = static("mistralai/Mistral-7B-v0.1", "hf-4.48", quantization="nf4")
    shared = static("mistralai/Mistral-7B-v0.1", "hf-4.48", quantization="nf4", num_gpus=2, sharding="fsdp")
    assert shared.quantized == whole.quantized // 2
    assert shared.scales == whole.scales
    assert shared.weights < 0.6 * whole.weights


def test_zero_cuts_float32_states_into_parts() -> None:
    found = static("mistralai/Mistral-7B-v0.1", tuning="full", num_gpus=4, sharding="zero2")
    assert found.states == 3 * 7_241_732_096


def test_trained_tensors_add_up() -> None:
    for model_id in (
        "Qwen/Qwen3-0.6B",
        "google/gemma-3-1b-it",
        "Qwen/Qwen3-30B-A3B",
        "openai-community/gpt2",
    ):
        architecture = known(model_id)
        plan = make_plan(architecture, TrainSetup(tuning="full"), load())
        total = sum(item.elements * item.count for item in trained_tensors(plan))
        assert total == pytest.approx(architecture.params, rel=0.001)


def test_saved_modules_are_copies() -> None:
    architecture = known("meta-llama/Llama-3.2-3B")
    setup = TrainSetup(modules_to_save=("embed_tokens",))
    with_copy = measure(make_plan(architecture, setup, load()))
    without = measure(make_plan(architecture, replace(setup, modules_to_save=()), load()))
    assert with_copy.trained - without.trained == 128_256 * 3072
    assert with_copy.weights == without.weights
