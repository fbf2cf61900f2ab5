"""What the objectives that learn from made-up answers share: prompts as text, reward functions, how answers are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.train.objectives.base import Warn, given_values, max_length
from engine.train.pairs import Pairs
from engine.train.rewards.guard import COLUMNS, Guarded
from engine.train.rewards.load import load_rewards
from engine.train.tokens import Tokenized

ORDINARY_ANSWER = 256  # tokens


class TextPrompts:
    """Mixed into TRL's trainers: prompts come as the text the model answers to, written by the template once and for all."""

    processing_class: Any

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self.processing_class(text=prompts, add_special_tokens=False)["input_ids"], None, {}


def prepare(
    rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
) -> Tokenized:
    """``prompt`` as text and every other column of the row packed into one, so that columns of any kind reach the rewards.

    Raises:
        UserError: A reward compares with the right answer, and the data have none.
    """
    asked = {"exact", "numeric"}.intersection(config.rewards.reward_funcs or ())
    if asked and not any(row.get("answer") is not None for row in rows):
        raise UserError(
            f"The reward {sorted(asked)[0]} compares with the right answer, and the data have none.",
            "reward_funcs",
            "Add a column answer, say which one it is (mapping answer=COLUMN), or choose another reward.",
        )
    pairs = Pairs(tokenizer)
    room = max_length(config) - (config.generation.max_completion_length or ORDINARY_ANSWER)
    made: list[dict[str, Any]] = []
    tokens = 0
    for row in rows:
        text = pairs.prompt(row["prompt"])
        length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        if length > room:
            continue
        others = {key: value for key, value in row.items() if key != "prompt"}
        columns = {**others, "messages": row["prompt"]}
        made.append({"prompt": text, COLUMNS: json.dumps(columns, ensure_ascii=False, default=str)})
        tokens += length
    return Tokenized(made, len(rows), 0, len(rows) - len(made), tokens, 0, 1.0)


def own(config: RunConfig) -> dict[str, Any]:
    """Fields that GRPOConfig and RLOOConfig share."""
    method, generation, training = config.method, config.generation, config.training
    evaluated = (training.per_device_eval_batch_size or 1) * (training.num_processes or 1)
    made = generation.num_generations or evaluated
    return {
        "num_generations_eval": next(
            (number for number in range(min(made, evaluated), 1, -1) if evaluated % number == 0), 2
        ),
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "num_iterations": generation.num_iterations,
        "epsilon": generation.epsilon,
        "mask_truncated_completions": generation.mask_truncated_completions,
        "max_completion_length": generation.max_completion_length or ORDINARY_ANSWER,
        "reward_weights": config.rewards.reward_weights,
        **given_values(num_generations=generation.num_generations, beta=method.beta),
    }


def given(config: RunConfig, warn: Warn) -> dict[str, Any]:
    """The reward functions, guarded.

    Raises:
        UserError: One of them cannot be loaded.
    """
    limit = config.rewards.reward_time_limit
    functions = load_rewards(config.rewards)
    return {"reward_funcs": [Guarded(name, function, limit, warn) for name, function in functions.items()]}
