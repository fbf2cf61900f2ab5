"""What an objective states; everything else is shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.advise.objectives import About
from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.train.samples import Answer, answer_all
from engine.train.tokens import Tokenized

Warn = Callable[[str, str], None]


class Prepare(Protocol):
    """Turns the rows of a dataset into those the trainer takes."""

    def __call__(
        self, rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
    ) -> Tokenized:
        """Rows within the length limit, and what became of the others."""


def no_arguments(config: RunConfig, warn: Warn) -> dict[str, Any]:
    """Nothing beside model, data and configuration."""
    return {}


def ask_questions(
    model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[dict[str, Any]]
) -> list[Answer]:
    """The user's own questions and the model's answers."""
    prompts = config.watch.sample_prompts
    answers = answer_all(model, tokenizer, prompts, config.watch.sample_max_new_tokens)
    return [(prompt, *answer) for prompt, answer in zip(prompts, answers, strict=True)]


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective as the trainer process needs it.

    Attributes:
        about: What everybody else knows of it.
        config_class: TRL's configuration.
        trainer_class: TRL's trainer, with safe checkpoints.
        prepare: From rows to tokens.
        own: Its own fields of the TRL configuration.
        given: Its own arguments of the trainer, such as reward functions.
        ask: Samples before and after training.
        auto_model: Name of the transformers class that loads the model.
        task: PEFT's name of the task.
        attaches: The adapter is attached before the trainer sees the model, because the trainer's own way would change the
            number format of the base.
    """

    about: About
    config_class: Callable[..., Any]
    trainer_class: Callable[..., Any]
    prepare: Prepare
    own: Callable[[RunConfig], dict[str, Any]]
    given: Callable[[RunConfig, Warn], dict[str, Any]] = no_arguments
    ask: Callable[[Any, Any, RunConfig, Sequence[dict[str, Any]]], list[Answer]] = ask_questions
    auto_model: str = "AutoModelForCausalLM"
    task: str = "CAUSAL_LM"
    attaches: bool = False


def max_length(config: RunConfig) -> int:
    """Longest row in tokens."""
    return config.training.max_length or ORDINARY_LENGTH


def given_values(**values: Any) -> dict[str, Any]:
    """Those that are not None, so that TRL's own default holds for the rest."""
    return {key: value for key, value in values.items() if value is not None}
