"""Needing less memory: the same rows a step, the right order, an end; and what run.yaml's owner changes since wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.draft import DEMO_RECIPE
from engine.config.loading import load
from engine.config.schema import RunConfig
from engine.config.writing import to_yaml
from engine.errors import UserError
from engine.run import changes
from engine.run.changes import Change
from engine.run.layout import RunDir, create
from engine.train.heal.changed import honoured, with_settings
from engine.train.heal.ladder import lighter
from engine.train.heal.out_of_memory import doing, is_out_of_memory
from engine.train.heal.probe import Measured, larger
from engine.train.heal.recover import healing
from engine.train.recorder import Recorder


def config(**settings: Any) -> RunConfig:
    return load(DEMO_RECIPE, {key: str(value) for key, value in settings.items()})


def down(start: RunConfig, evaluating: bool = False) -> list[dict[str, Any]]:
    """Every step of the ladder to its end."""
    found: list[dict[str, Any]] = []
    while (rung := lighter(start, evaluating)) is not None:
        assert rung.words
        found.append(rung.after)
        start = with_settings(start, rung.after)
        assert len(found) < 40
    return found


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (6, 2), (5, 1), (12, 3), (1, 4)])
def test_the_rows_of_a_step_stay_the_same(batch: int, accumulation: int) -> None:
    start = config(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
    rungs = down(start)
    batches = [rung["per_device_train_batch_size"] for rung in rungs if "per_device_train_batch_size" in rung]
    for rung in rungs[: len(batches)]:
        assert (
            rung["per_device_train_batch_size"] * rung["gradient_accumulation_steps"] == batch * accumulation
        )
    assert all(now <= before // 2 for before, now in zip([batch, *batches], batches, strict=False))
    assert (batches or [batch])[-1] == 1
    assert rungs[-1] == {"gradient_checkpointing": True}


def test_rows_are_cut_off_only_where_that_is_allowed() -> None:
    start = config(per_device_train_batch_size=1, max_length=1000, gradient_checkpointing=True)
    assert down(start) == []
    allowed = with_settings(start, {"allow_shorter": True})
    assert [rung["max_length"] for rung in down(allowed)] == [500, 250]


def test_evaluation_has_a_batch_of_its_own() -> None:
    assert down(config(per_device_eval_batch_size=4), evaluating=True) == [
        {"per_device_eval_batch_size": 2},
        {"per_device_eval_batch_size": 1},
    ]


def test_kto_keeps_the_two_rows_it_compares() -> None:
    start = config(per_device_train_batch_size=4, objective="kto")
    batches = [rung.get("per_device_train_batch_size") for rung in down(start)]
    assert batches == [2, None]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("Error cudaErrorMemoryAllocation at line 90"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_way_of_saying_out_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = RuntimeError("something else")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


def test_what_only_looks_alike() -> None:
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_out_of_memory(ValueError("the word memory out of place"))


def test_what_was_going_on_is_read_from_the_way_the_error_came() -> None:
    def fail() -> None:
        raise MemoryError

    def evaluation_loop() -> None:
        fail()

    def _save_checkpoint() -> None:
        fail()

    found = []
    for function in (fail, evaluation_loop, _save_checkpoint):
        with pytest.raises(MemoryError) as caught:
            function()
        found.append(doing(caught.value))
    assert found == ["training", "evaluating", "saving"]


@pytest.fixture
def run() -> RunDir:
    return create("r")


def evaluate() -> None:
    raise MemoryError


def train() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("phase", "ends", "what", "fix"),
    [
        ("tokenizing", train, "main memory (RAM) ran out before training", "#10000"),
        ("loading model", train, "while loading: the model itself", "load_in_4bit: true, a smaller model"),
        (
            "training",
            evaluate,
            "while evaluating at the first step",
            "load_in_4bit: true, a smaller max_length",
        ),
        ("training", train, "at the first step, and", "load_in_4bit: true, gradient_checkpointing: true"),
    ],
)
def test_at_the_end_of_the_ladder_only_what_would_help_is_advised(
    run: RunDir, phase: str, ends: Any, what: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.train.heal.recover.lighter", lambda *_: None)
    run.config.write_text(to_yaml(config(per_device_eval_batch_size=1)))
    recorder = Recorder(run)
    recorder.phase(phase, "")
    with pytest.raises(UserError) as caught, healing(run, recorder):
        ends()
    assert what in caught.value.what
    assert fix in caught.value.fix
    recorder.close()


def halved(batch: int, accumulation: int = 1) -> Change:
    keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
    return Change(
        "out of memory",
        "Out of memory.",
        1,
        7,
        dict(zip(keys, (batch, accumulation), strict=True)),
        dict(zip(keys, (batch // 2, accumulation * 2), strict=True)),
    )


def test_changes_are_proposed_once_kept_and_honoured(run: RunDir) -> None:
    assert changes.propose(run, halved(8))
    assert not changes.propose(run, halved(4)), "the second process to fail changed the change"
    assert changes.is_proposed(run)
    assert changes.accept(run) == changes.read(run)[0]
    assert changes.accept(run) is None
    changes.append(run, halved(4, 2))
    assert changes.summary(run) == "batch 8 → 2, accumulation 1 → 4"
    asked = config(per_device_train_batch_size=8, gradient_accumulation_steps=1)
    now = honoured(run, asked).training
    assert (now.per_device_train_batch_size, now.gradient_accumulation_steps) == (2, 4)


def test_what_the_user_writes_into_run_yaml_afterwards_wins(run: RunDir) -> None:
    changes.append(run, halved(8))
    edited = config(per_device_train_batch_size=6, gradient_accumulation_steps=1)
    assert honoured(run, edited) == edited


@pytest.mark.parametrize("text", ["", "{", "[]", '{"changes": 3}', '{"changes": [3, {}, {"why": 1}]}'])
def test_a_damaged_list_of_changes_changes_nothing(run: RunDir, text: str) -> None:
    Path(run.path, "changes.json").write_text(text)
    Path(run.control, "restart").write_text(text)
    assert changes.read(run) == []
    assert changes.accept(run) is None
    assert changes.summary(run) == ""
    assert honoured(run, config()) == config()


def test_a_batch_is_raised_as_far_as_the_measured_memory_allows() -> None:
    found = Measured(tokens=512, rows=2, steady=10, allocated=14, reserved=15, seconds=1.0)
    assert larger(found, 100, 8) == 8
    assert larger(found, 40, 8) == 4  # 10 + 5 * 4 = 30 of 36
    assert larger(found, 16, 8) == 1
    assert larger(found, 100, 3) == 1  # the rows of a step must stay the same
