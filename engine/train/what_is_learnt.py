"""Telling what of the rows is learnt, and refusing a run that would learn nothing."""

from __future__ import annotations

from typing import Any

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.data.forms import PromptOnly
from engine.errors import UserError
from engine.train.recorder import Recorder


def report_tokens(recorder: Recorder, made: Any, config: RunConfig, conversational: bool) -> None:
    """Say what is learnt, and refuse a run that would learn nothing, or never to stop.

    Raises:
        UserError: No token would be trained on, or in no conversation the one that ends an answer.
    """
    if OBJECTIVES[config.method.objective].form is PromptOnly:
        report_prompts(recorder, made, config)
        return
    if made.trained == 0:
        raise UserError(
            "There is nothing to learn: in none of the rows is a token left to train on.",
            f"{made.total} rows, max_length {config.training.max_length}",
            "Raise --max_length so that the answers are not cut off, and check that the rows contain assistant answers.",
        )
    if conversational and made.stops == 0 and not config.template.allow_bad_template:
        raise UserError(
            "The model would never learn to stop: in none of the rows is the end of the answer learnt.",
            f"chat_template {config.template.chat_template}, max_length {config.training.max_length}",
            "Choose another template or raise --max_length. To start all the same: --allow_bad_template true",
        )
    share = made.trained / made.tokens
    recorder.emit(
        "phase",
        phase="tokenized",
        words=f"{made.trained:,} of {made.tokens:,} tokens are learnt ({share:.0%}).",
        tokens=made.tokens,
        trained_tokens=made.trained,
        truncated=made.truncated,
        dropped=made.without_target,
    )
    if made.without_target:
        recorder.warning(
            f"{made.without_target} of {made.total} rows have no answer within max_length and are left out."
        )
    if made.truncated:
        recorder.warning(
            f"{made.truncated} of {made.total} rows are longer than {config.training.max_length} tokens and are cut.",
            "Raise max_length if memory allows.",
        )
    if made.stops < 0.5:
        recorder.warning(
            "In most rows the end of the answer is not learnt, so the model may not know when to stop."
        )


def report_prompts(recorder: Recorder, made: Any, config: RunConfig) -> None:
    """Say how many prompts there are to answer.

    Raises:
        UserError: None of them leaves room for an answer.
    """
    where = f"max_length {config.training.max_length}, max_completion_length {config.generation.max_completion_length}"
    fix = "Raise max_length, or lower max_completion_length if answers are short."
    if not made.rows:
        raise UserError(f"None of the {made.total:,} prompts leaves room for an answer.", where, fix)
    training, answers = config.training, config.generation.num_generations or 1
    at_once = (training.per_device_train_batch_size or 1) * (training.gradient_accumulation_steps or 1)
    prompts = at_once * (training.num_processes or 1) // answers
    if len(made.rows) < prompts:
        raise UserError(
            f"A step takes {prompts:,} prompts with {answers} answers to each, and there are only {len(made.rows):,}: none would "
            "be trained.",
            f"per_device_train_batch_size {training.per_device_train_batch_size}, gradient_accumulation_steps "
            f"{training.gradient_accumulation_steps}",
            "Add prompts, or lower one of the two.",
        )
    recorder.emit(
        "phase",
        phase="tokenized",
        words=f"{len(made.rows):,} prompts to answer, {made.tokens / len(made.rows):.0f} tokens each on average.",
        tokens=made.tokens,
        trained_tokens=0,
        truncated=0,
        dropped=made.without_target,
    )
    if made.without_target:
        recorder.warning(
            f"{made.without_target:,} of {made.total:,} prompts leave no room for an answer and are left out.",
            fix,
        )
