"""The batches that are replayed are those that the trainer makes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.fit.simulate.batches import around_longest, epoch_lengths
from engine.fit.simulate.predict import Circumstances, run
from engine.fit.types import TrainSetup

ROWS = tuple(random.Random(3).sample(range(5, 400), 37))


def test_batches_are_those_of_the_real_trainer(tmp_path: Path) -> None:
    import torch
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    limit = 300
    trainer = Trainer(
        model=torch.nn.Linear(1, 1),
        args=TrainingArguments(
            str(tmp_path), seed=7, per_device_train_batch_size=4, use_cpu=True, remove_unused_columns=False
        ),
        train_dataset=Dataset.from_list([{"input_ids": [1] * min(length, limit)} for length in ROWS]),
        data_collator=DataCollatorForLanguageModeling(pad_token_id=0),
    )
    loader = trainer.get_train_dataloader()
    for epoch in range(2):
        loader.set_epoch(epoch)
        real = tuple(batch["input_ids"].shape[1] for batch in loader)
        assert epoch_lengths(ROWS, 4, limit, 7, epoch) == real


def test_several_gpus_and_accumulation_share_the_batches() -> None:
    alone = epoch_lengths(ROWS, 4, 400, 1)
    halves = alone[::2], alone[1::2]
    assert epoch_lengths(ROWS, 4, 400, 1, num_processes=2) == max(halves, key=max)
    steps = epoch_lengths(ROWS, 4, 400, 1, accumulation=3)
    assert steps == tuple(max(alone[start : start + 3]) for start in range(0, len(alone), 3))


def test_a_stretch_of_a_long_epoch_has_the_longest_batch() -> None:
    assert around_longest((1, 2, 9, 3, 4), 3) == (2, 9, 3)
    assert around_longest((9, 2, 1), 2) == (9, 2)
    assert around_longest((1, 2, 9), 8) == (1, 2, 9)


def test_a_dataset_decides_the_lengths() -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
    }
    setup = TrainSetup(batch=2, seq_len=512)
    found = run(setup, config, circumstances=Circumstances(rows=ROWS, seed=7))
    assert max(found.reel.steps) == max(ROWS)
    alike = run(TrainSetup(batch=2, seq_len=max(ROWS)), config)
    assert found.prediction.allocated.p50 == alike.prediction.allocated.p50
    with pytest.raises(UserError, match="no tokens"):
        run(setup, config, circumstances=Circumstances(rows=(10, 0)))
