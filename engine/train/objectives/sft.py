"""Supervised fine-tuning: imitate the answers in the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import SFTConfig, SFTTrainer

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.train.batching import StepBatches
from engine.train.lean_loss import LeanLoss
from engine.train.many_rows import tokenize_rows
from engine.train.objectives.base import Objective, given_values, max_length
from engine.train.safe_save import SafeSaves
from engine.train.tokens import Tokenized
from engine.train.tuning import LoraPlus


class Trainer(SafeSaves, LoraPlus, StepBatches, LeanLoss, SFTTrainer):
    """TRL's trainer with safe saves, steps that are laid out to fit, and no needless waiting for the device."""


def prepare(
    rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
) -> Tokenized:
    """Conversations and texts as token ids and labels."""
    only = config.template.assistant_only_loss and conversational
    return tokenize_rows(rows, tokenizer, max_length(config), only)


def own(config: RunConfig) -> dict[str, Any]:
    """Fields of SFTConfig; the rows come tokenized."""
    return {
        "max_length": config.training.max_length,
        "packing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        **given_values(loss_type=config.method.loss_type),
    }


OBJECTIVE = Objective(OBJECTIVES["sft"], SFTConfig, Trainer, prepare, own)
