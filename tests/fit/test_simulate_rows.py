"""Published measurements of real GPU runs, simulated on this CPU.

Rows of ``tests/bench/data/vram_measured.csv`` whose software the installed libraries can be made to follow: one GPU,
``allocated`` (``torch.cuda.max_memory_allocated``) in GiB. Settings the rows do not repeat are those of the published
scripts: fms-acceleration's scenarios.yaml (dropout 0.1, packed rows, no mixed precision for full and plain LoRA in the
first file) and can-i-finetune-this' runner.py (no dropout, no autocast).
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from engine.fit.simulate.predict import Circumstances, run
from engine.fit.types import TrainSetup

pytestmark = pytest.mark.thorough

GIB = 1 << 30
MISTRAL: dict[str, Any] = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "sliding_window": 4096,
}
QWEN: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FMS: dict[str, Any] = {
    "seq_len": 4096,
    "lora_r": 16,
    "lora_targets": ATTENTION,
    "lora_dropout": 0.1,
    "optimizer": "adamw_torch",
    "attention": "flash_attention_2",
    "padded": False,
}
LOOP: dict[str, Any] = {
    "quantization": "nf4",
    "lora_r": 16,
    "lora_targets": ATTENTION,
    "optimizer": "paged_adamw_8bit",
    "padded": False,
    "autocast": False,
}
# config, setup, profile, allocated peak, allocated between steps (None: not published)
Row = tuple[dict[str, Any], dict[str, Any], str, float, float | None]
FULL, PLAIN, QUANTIZED = (
    {**FMS, "tuning": "full", "autocast": False},
    {**FMS, "autocast": False},
    {**FMS, "quantization": "nf4"},
)
ROWS: list[Row] = [
    (MISTRAL, {**FULL, "batch": 4}, "fms-4.48", 67.46, 40.483),
    (MISTRAL, {**FULL, "batch": 8}, "fms-4.48", 67.461, 40.483),
    (MISTRAL, {**PLAIN, "batch": 4}, "fms-4.48", 24.871, 13.657),
    (MISTRAL, {**PLAIN, "batch": 8}, "fms-4.48", 36.082, 13.658),
    (MISTRAL, {**QUANTIZED, "batch": 4}, "fms-4.48-kbit", 19.25, 4.011),
    (MISTRAL, {**QUANTIZED, "batch": 8}, "fms-4.48-kbit", 34.461, 4.012),
    (MISTRAL, {**QUANTIZED, "batch": 4}, "fms-4.48", 15.249, 4.011),
    (MISTRAL, {**QUANTIZED, "batch": 8}, "fms-4.48", 26.461, 4.011),
    (QWEN, {**LOOP, "batch": 1, "seq_len": 512}, "loop-5", 2.794, None),
    (QWEN, {**LOOP, "batch": 1, "seq_len": 1024}, "loop-5", 4.041, None),
    (QWEN, {**LOOP, "batch": 2, "seq_len": 1024}, "loop-5", 6.531, None),
    (QWEN, {**LOOP, "batch": 1, "seq_len": 2048}, "loop-5", 6.532, None),
    (QWEN, {**LOOP, "batch": 1, "seq_len": 4096}, "loop-5", 11.507, None),
    (QWEN, {**LOOP, "batch": 1, "seq_len": 1024, "gradient_checkpointing": False}, "loop-5", 9.341, None),
]


@pytest.fixture(scope="module")
def answers() -> list[tuple[Row, Any]]:
    quick = Circumstances(replay_seconds=0.1)
    return [(row, run(TrainSetup(**row[1]), row[0], row[2], quick)) for row in ROWS]


def test_allocated_memory_of_published_runs(answers: list[tuple[Row, Any]]) -> None:
    errors = [100 * (found.prediction.allocated.p50 / GIB / row[3] - 1) for row, found in answers]
    absolute = [abs(error) for error in errors]
    assert statistics.mean(absolute) <= 1.0, errors
    assert max(absolute) <= 3.0, errors


def test_every_run_needs_less_than_the_upper_end(answers: list[tuple[Row, Any]]) -> None:
    for row, found in answers:
        assert row[3] * GIB <= found.prediction.allocated.p95


def test_memory_between_steps_of_published_runs(answers: list[tuple[Row, Any]]) -> None:
    for row, found in answers:
        if row[4] is not None:
            assert found.prediction.steady / GIB == pytest.approx(row[4], rel=0.001)


def test_every_model_has_the_published_number_of_weights(answers: list[tuple[Row, Any]]) -> None:
    assert {found.params for _, found in answers} == {7_241_732_096, 1_543_714_304}
