"""A reward model: it learns to score answers, the better one of each pair higher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import RewardConfig, RewardTrainer

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.train.objectives.base import Objective, max_length
from engine.train.pairs import Pairs
from engine.train.safe_save import SafeSaves
from engine.train.samples import Answer
from engine.train.tokens import Tokenized
from engine.train.tuning import LoraPlus

SAMPLES = 3  # pairs whose scores are shown before and after


class Trainer(SafeSaves, LoraPlus, RewardTrainer):
    """TRL's trainer with safe saves."""


def prepare(
    rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
) -> Tokenized:
    """``chosen_ids`` and ``rejected_ids``, each with its prompt. Longer pairs are left out: an answer that was cut off would be
    judged for what is missing."""
    pairs, limit = Pairs(tokenizer), max_length(config)
    made: list[dict[str, Any]] = []
    tokens = 0
    for row in rows:
        chosen, rejected = (
            pairs.whole(row["prompt"], row[kind], row.get("tools")) for kind in ("chosen", "rejected")
        )
        if max(len(chosen), len(rejected)) <= limit:
            made.append({"chosen_ids": chosen, "rejected_ids": rejected})
            tokens += len(chosen) + len(rejected)
    return Tokenized(made, len(rows), 0, len(rows) - len(made), tokens, tokens, 1.0)


def own(config: RunConfig) -> dict[str, Any]:
    """Fields of RewardConfig."""
    return {
        "max_length": max_length(config),
        "center_rewards_coefficient": config.preference.center_rewards_coefficient or None,
    }


def ask(model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[dict[str, Any]]) -> list[Answer]:
    """The scores of a few pairs in place of answers."""
    import torch

    pairs = Pairs(tokenizer)
    was_training = model.training
    model.eval()
    told: list[Answer] = []
    try:
        for row in rows[:SAMPLES]:
            scores = []
            for kind in ("chosen", "rejected"):
                ids = pairs.whole(row["prompt"], row[kind], row.get("tools"))[: max_length(config)]
                with torch.inference_mode():
                    scores.append(float(model(torch.tensor([ids], device=model.device)).logits[0, 0]))
            words = f"better answer {scores[0]:+.2f}, worse answer {scores[1]:+.2f}"
            told.append((str(row["prompt"][-1]["content"]), words, True))
    finally:
        model.train(was_training)
    return told


OBJECTIVE = Objective(
    OBJECTIVES["reward"],
    RewardConfig,
    Trainer,
    prepare,
    own,
    ask=ask,
    auto_model="AutoModelForSequenceClassification",
    task="SEQ_CLS",
)
