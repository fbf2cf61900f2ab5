"""What answers earn from the reward functions of a run (grpo, rloo)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.config.schema import RunConfig
from engine.train.rewards.guard import COLUMNS, Guarded
from engine.train.rewards.load import load_rewards

BATCH = 16  # answers at once, as the time limit is for a batch


class Earned:
    """The run's reward functions, guarded as in training.

    Args:
        config: The run.

    Raises:
        UserError: One of them cannot be loaded.
    """

    def __init__(self, config: RunConfig) -> None:
        limit = config.rewards.reward_time_limit
        self._functions = [
            Guarded(name, function, limit) for name, function in load_rewards(config.rewards).items()
        ]
        self._weights = config.rewards.reward_weights or [1.0] * len(self._functions)

    def score(self, rows: Sequence[dict[str, Any]], answers: Sequence[str]) -> list[float]:
        """The weighted sum for each answer; a function without an opinion adds nothing.

        Args:
            rows: In training form.
            answers: One for each row.

        Raises:
            UserError: A function failed; it names the answer.
        """
        made: list[float] = []
        for start in range(0, len(rows), BATCH):
            part, texts = rows[start : start + BATCH], list(answers[start : start + BATCH])
            columns = [
                json.dumps(
                    {
                        **{key: value for key, value in row.items() if key != "prompt"},
                        "messages": row["prompt"],
                    },
                    ensure_ascii=False,
                    default=str,
                )
                for row in part
            ]
            prompts = [str(row["prompt"][-1].get("content") or "") for row in part]
            scores = [function(texts, prompts=prompts, **{COLUMNS: columns}) for function in self._functions]
            made += [
                sum(weight * (each[at] or 0.0) for weight, each in zip(self._weights, scores, strict=True))
                for at in range(len(texts))
            ]
        return made
