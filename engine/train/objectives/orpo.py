"""ORPO: imitate the better answers and turn away from the worse ones in one go, without a model to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.train.objectives import dpo
from engine.train.objectives.base import Objective, given_values, max_length
from engine.train.safe_save import SafeSaves
from engine.train.tokens import IGNORED, Tokenized
from engine.train.tuning import LoraPlus


class Trainer(SafeSaves, LoraPlus, ORPOTrainer):
    """TRL's trainer with safe saves, for rows that are tokens already."""

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return {}


def prepare(
    rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
) -> Tokenized:
    """The columns of TRL's collator: whole sequences, with the prompt left out of the labels."""
    pairs = dpo.prepare(rows, tokenizer, config, conversational)
    made: list[dict[str, Any]] = []
    for row in pairs.rows:
        columns: dict[str, Any] = {}
        for kind in ("chosen", "rejected"):
            prompt, answer = row["prompt_ids"], row[f"{kind}_ids"]
            columns[f"{kind}_input_ids"] = prompt + answer
            columns[f"{kind}_attention_mask"] = [1] * (len(prompt) + len(answer))
            columns[f"{kind}_labels"] = [IGNORED] * len(prompt) + answer
        columns["prompt_input_ids"] = row["prompt_ids"]
        columns["prompt_attention_mask"] = [1] * len(row["prompt_ids"])
        made.append(columns)
    return replace(pairs, rows=made)


def own(config: RunConfig) -> dict[str, Any]:
    """Fields of ORPOConfig."""
    return {
        "max_length": max_length(config),
        "remove_unused_columns": False,
        **given_values(beta=config.method.beta),
    }


OBJECTIVE = Objective(OBJECTIVES["orpo"], ORPOConfig, Trainer, prepare, own, attaches=True)
