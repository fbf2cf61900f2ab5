"""Preference training: better answers become likelier than before, worse ones less likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import DPOConfig, DPOTrainer

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.train.objectives.base import Objective, given_values, max_length
from engine.train.pairs import Pairs
from engine.train.safe_save import SafeSaves
from engine.train.tokens import Tokenized
from engine.train.tuning import LoraPlus


class Trainer(SafeSaves, LoraPlus, DPOTrainer):
    """TRL's trainer with safe saves, for rows that are tokens already."""

    def _prepare_dataset(self, dataset: Any, *given: Any) -> Any:
        return dataset


def prepare(
    rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
) -> Tokenized:
    """``prompt_ids``, ``chosen_ids`` and ``rejected_ids``; answers are cut at max_length."""
    pairs, limit = Pairs(tokenizer), max_length(config)
    made: list[dict[str, Any]] = []
    truncated = dropped = tokens = trained = stopping = 0
    for row in rows:
        prompt, chosen = pairs.split(row["prompt"], row["chosen"], row.get("tools"))
        other, rejected = pairs.split(row["prompt"], row["rejected"], row.get("tools"))
        if len(other) != len(prompt):  # the answers part from the prompt at different places
            shared = min(len(other), len(prompt))
            prompt, chosen, rejected = prompt[:shared], prompt[shared:] + chosen, other[shared:] + rejected
        room = limit - len(prompt)
        truncated += max(len(chosen), len(rejected)) > room
        if room <= 0 or not chosen or not rejected:
            dropped += 1
            continue
        chosen, rejected = chosen[:room], rejected[:room]
        made.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
        trained += len(chosen) + len(rejected)
        tokens += 2 * len(prompt) + len(chosen) + len(rejected)
        stopping += pairs.stops(chosen)
    share = stopping / len(made) if made else 0.0
    return Tokenized(made, len(rows), truncated, dropped, tokens, trained, share)


def own(config: RunConfig) -> dict[str, Any]:
    """Fields of DPOConfig."""
    method, preference = config.method, config.preference
    return {
        "max_length": None,  # cut already
        "precompute_ref_log_probs": bool(preference.precompute_ref_log_probs),
        "label_smoothing": preference.label_smoothing,
        **given_values(beta=method.beta, loss_type=method.loss_type),
    }


OBJECTIVE = Objective(OBJECTIVES["dpo"], DPOConfig, Trainer, prepare, own)
