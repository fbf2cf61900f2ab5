"""Steps made of parts, and orders that a resumed run finds again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.train.batching import LengthSampler
from tests.train.laid_out import config_of, losses, trainer_of

STEPS = 4


def curve(folder: Path, **training: Any) -> list[float]:
    trainer = trainer_of(config_of(max_steps=STEPS, **training), folder)
    trainer.train()
    return losses(trainer)


def test_eight_at_once_or_one_at_a_time_learn_the_same(tmp_path: Path) -> None:
    wanted = curve(tmp_path / "a", per_device_train_batch_size=8, gradient_accumulation_steps=1)
    for packing in (True, False):
        single = curve(
            tmp_path / f"b{packing}",
            per_device_train_batch_size=1,
            gradient_accumulation_steps=8,
            packing=packing,
        )
        assert single == pytest.approx(wanted, abs=1e-3)
    assert wanted[-1] < wanted[0]
    assert len(wanted) == STEPS


@pytest.mark.parametrize("packing", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_a_run_that_goes_on_is_the_same_to_the_last_bit(tmp_path: Path, packing: bool) -> None:
    # 20 rows make three steps an epoch, the last of them smaller, so the fourth step begins a new one.
    config = config_of(max_steps=6, packing=packing, group_by_length=not packing)
    whole = trainer_of(config, tmp_path / "whole", 20)
    whole.train()
    again = trainer_of(config, tmp_path / "again", 20, resuming=True)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert losses(again)[4:] == losses(whole)[4:]
    assert len(losses(whole)) == 6
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_the_token_count_and_the_metrics_are_those_of_the_real_tokens(tmp_path: Path) -> None:
    trainer = trainer_of(config_of(max_steps=3), tmp_path, 24)  # 8 a step: one epoch
    trainer.train()
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    last = next(entry for entry in reversed(trainer.state.log_history) if "num_tokens" in entry)
    assert last["num_tokens"] == tokens
    assert 0 < last["mean_token_accuracy"] < 1
    assert last["entropy"] > 0


def test_rows_of_like_length_come_together_in_an_order_that_the_epoch_decides() -> None:
    lengths = [(index * 37) % 101 + 1 for index in range(203)]
    sampler = LengthSampler(lengths, 8, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(203))
    assert first == list(LengthSampler(lengths, 8, seed=1))
    spread = [
        max(step) - min(step) for at in range(0, 200, 8) if (step := [lengths[i] for i in first[at : at + 8]])
    ]
    assert sum(spread) / len(spread) < 8, "of 101"
    sampler.set_epoch(1)
    assert list(sampler) != first
