"""A probed run equals an unprobed one, bit for bit, on a CPU; what only a GPU can say is not tested here."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from engine.config.draft import DEMO_DATA, DEMO_RECIPE
from engine.config.loading import load
from engine.config.resolve import Facts, resolve
from engine.train.heal.probe import Measured, longest_rows, measure, words_of

pytestmark = pytest.mark.slow


def trained(
    folder: Path, probed: bool, optimizer: str
) -> tuple[dict[str, torch.Tensor], list[Any], list[Any]]:
    """Four steps of the demo with dropout: the weights, what was logged, and the random states afterwards."""
    from datasets import Dataset
    from transformers import TrainerCallback

    from engine.train import model as loading
    from engine.train.objectives import core
    from engine.train.tokens import prepare_tokenizer, tokenize

    options = {"max_steps": "4", "eval_fraction": "0", "lora_dropout": "0.1", "optim": optimizer}
    config = resolve(load(DEMO_RECIPE, options), Facts(num_rows=400)).config
    rows = [json.loads(line) for line in Path(DEMO_DATA).read_text("utf-8").splitlines()]
    tokenizer = loading.load_tokenizer(config)
    prepare_tokenizer(tokenizer, "model", True)
    made = tokenize(rows, tokenizer, 256, True)
    arguments = core.arguments(config, str(folder), False, False)
    arguments.save_strategy = "no"
    found: list[Measured] = []

    class Probed(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            if probed:
                found.append(measure(trainer))

    trainer = core.build(
        config,
        loading.load_model(config),
        tokenizer,
        Dataset.from_list(made.rows),
        None,
        arguments,
        [Probed()],
    )
    trainer.train()
    if probed:
        assert found[0].rows == config.training.per_device_train_batch_size
        assert found[0].tokens == max(len(row["input_ids"]) for row in made.rows)
    weights = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    ignored = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    log = [{k: v for k, v in entry.items() if k not in ignored} for entry in trainer.state.log_history]
    random_states = [torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist()]
    return weights, log, random_states


@pytest.mark.parametrize(
    "optimizer", ["adamw_torch_fused", pytest.param("adafactor", marks=pytest.mark.thorough)]
)
def test_a_probed_run_equals_an_unprobed_one(optimizer: str, tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", False, optimizer)
    probed = trained(tmp_path / "probed", True, optimizer)
    for name, weight in plain[0].items():
        assert torch.equal(weight, probed[0][name]), name
    assert plain[1] == probed[1]
    assert plain[2] == probed[2]


def test_the_longest_rows_are_found_whatever_the_columns_are_called() -> None:
    from datasets import Dataset

    rows = Dataset.from_list(
        [
            {"prompt_ids": [1] * a, "chosen_ids": [1] * b, "labels": [1] * 90}
            for a, b in ((1, 2), (9, 1), (4, 4), (2, 9))
        ]
    )
    assert longest_rows(rows, 2) == ([3, 1], 11)


def test_measured_is_told_against_predicted() -> None:
    found = Measured(812, 4, 10 << 30, 12 << 30, 13 << 30, 3.0)
    assert (
        words_of(found, None)
        == "Measured on the 4 longest rows at once (up to 812 tokens): 12.0 GiB in use at the most."
    )
