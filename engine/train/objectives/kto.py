"""KTO: learn from single answers marked good or bad."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from trl import KTOConfig, KTOTrainer

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.train.objectives.base import Objective, given_values, max_length
from engine.train.pairs import Pairs
from engine.train.safe_save import SafeSaves
from engine.train.tokens import Tokenized
from engine.train.tuning import LoraPlus


class Trainer(SafeSaves, LoraPlus, KTOTrainer):
    """TRL's trainer with safe saves, for rows that are tokens already."""

    def _prepare_dataset(self, dataset: Any, tokenizer: Any, args: Any, name: str) -> Any:
        """Beside each answer one that belongs to another prompt of the same batch, from which the KL term is told."""
        if not self.calculate_KL:
            return dataset
        size = args.per_device_train_batch_size
        answers = dataset["completion_ids"]
        others = [
            answer
            for start in range(0, len(answers), size)
            for answer in _rotated(list(answers[start : start + size]))
        ]
        return dataset.add_column("KL_completion_ids", others)


def prepare(
    rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
) -> Tokenized:
    """``prompt_ids``, ``completion_ids`` and ``label``, shuffled once: KTO reads them in order, and a file may hold all good
    answers first.

    Raises:
        UserError: All answers are marked the same.
    """
    pairs, limit = Pairs(tokenizer), max_length(config)
    made: list[dict[str, Any]] = []
    truncated = dropped = tokens = trained = stopping = good = 0
    for row in rows:
        prompt, answer = pairs.split(row["prompt"], row["completion"])
        room = limit - len(prompt)
        truncated += len(answer) > room
        if room <= 0 or not answer:
            dropped += 1
            continue
        answer = answer[:room]
        made.append({"prompt_ids": prompt, "completion_ids": answer, "label": bool(row["label"])})
        good += bool(row["label"])
        tokens += len(prompt) + len(answer)
        trained += len(answer)
        stopping += pairs.stops(answer)
    if len(made) > 1 and good in (0, len(made)) and len(rows) >= 10:
        raise UserError(
            f"All {len(made):,} answers are marked {'good' if good else 'bad'}, so there is nothing to tell apart.",
            "column label",
            "Add answers of the other kind; good answers alone are for sft (--objective sft --format good).",
        )
    random.Random(config.training.seed).shuffle(made)
    share = stopping / len(made) if made else 0.0
    return Tokenized(made, len(rows), truncated, dropped, tokens, trained, share)


def own(config: RunConfig) -> dict[str, Any]:
    """Fields of KTOConfig."""
    method, preference = config.method, config.preference
    return {
        "max_length": None,  # cut already
        "precompute_ref_log_probs": bool(preference.precompute_ref_log_probs),
        **given_values(
            beta=method.beta,
            loss_type=method.loss_type,
            desirable_weight=preference.desirable_weight,
            undesirable_weight=preference.undesirable_weight,
        ),
    }


def _rotated(batch: list[list[int]]) -> list[list[int]]:
    return [batch[-1], *batch[:-1]] if batch else []


OBJECTIVE = Objective(OBJECTIVES["kto"], KTOConfig, Trainer, prepare, own)
