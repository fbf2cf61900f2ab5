"""Rows that share lines: what the configuration says, and the mask that keeps them apart, against the simulated step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.config.schema import RunConfig
from engine.fit.architecture import from_catalogue
from engine.fit.predict import predict
from engine.fit.setup import setup_of
from engine.fit.simulate.predict import Circumstances, run
from engine.fit.types import Architecture, TrainSetup

QUICK = Circumstances(replay_seconds=0.05)


def _known(model_id: str) -> Architecture:
    architecture = from_catalogue(model_id)
    assert architecture is not None
    return architecture


def _setup(**training: Any) -> TrainSetup:
    objective = training.pop("objective", "sft")
    return setup_of(
        RunConfig.model_validate(
            {
                "model": {
                    "model_name_or_path": "Qwen/Qwen3-0.6B",
                    "attn_implementation": training.pop("attention", "sdpa"),
                },
                "data": {"train": ["rows.jsonl"]},
                "method": {"objective": objective},
                "training": training,
            }
        )
    )


def _compare(model_id: str, setup: TrainSetup) -> None:
    simulated = run(setup, _known(model_id), circumstances=QUICK).prediction.allocated.p50
    found = predict(_known(model_id), setup).allocated.p50
    difference = 100 * (found / simulated - 1)
    shown = f"{model_id} {setup.tuning} {setup.batch}x{setup.seq_len} checkpointing {setup.gradient_checkpointing}: {difference:+.2f} %"
    print(shown)  # with -s: the figures of docs/memory.md
    assert -2 <= difference <= 5, shown


def test_rows_share_lines_unless_something_speaks_against_it() -> None:
    assert _setup().lines
    assert _setup(objective="cpt").lines
    assert not _setup(packing=False).lines
    assert not _setup(objective="dpo").lines
    assert not _setup(sharding="fsdp", num_processes=2).lines
    flat = _setup(attention="flash_attention_2")
    assert flat.packed
    assert not flat.lines


def test_a_line_of_its_own_needs_no_mask() -> None:
    alone = TrainSetup(batch=1, lines=True)
    assert not alone.masked
    assert replace(alone, gradient_accumulation=8).masked, "rows of one step share a line"
    assert not replace(alone, lines=False, gradient_accumulation=8).masked
    assert replace(alone, batch=2, lines=False).masked
    assert not replace(alone, batch=2, packed=True).masked


def test_the_mask_of_a_shared_line_is_counted() -> None:
    """At 8,192 tokens a byte for every pair of them, and two more for each layer whose attention is kept."""
    setup = TrainSetup(
        batch=1, seq_len=8192, gradient_checkpointing=False, lines=True, gradient_accumulation=4
    )
    architecture = _known("Qwen/Qwen3-0.6B")
    masks = 8192**2 * (1 + 2 * architecture.layers)
    shared = predict(architecture, setup).allocated.p50
    alone = predict(architecture, replace(setup, padded=False)).allocated.p50
    assert shared - alone > masks
    assert shared < alone * 1.5


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_simulated_step_agrees(checkpointing: bool) -> None:
    setup = TrainSetup(
        batch=1, seq_len=4096, gradient_checkpointing=checkpointing, lines=True, gradient_accumulation=2
    )
    _compare("Qwen/Qwen3-0.6B", setup)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "model_id", ["HuggingFaceTB/SmolLM2-360M", "meta-llama/Llama-3.1-8B", "google/gemma-2b"]
)
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_other_models_and_batches(model_id: str, checkpointing: bool, tuning: Any) -> None:
    for batch, accumulation, padded in ((1, 4, True), (4, 1, True), (4, 1, False)):
        setup = TrainSetup(
            tuning=tuning,
            batch=batch,
            seq_len=4096 // batch,
            gradient_checkpointing=checkpointing,
            gradient_accumulation=accumulation,
            lines=True,
            padded=padded,
        )
        _compare(model_id, setup)
