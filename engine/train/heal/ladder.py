"""What to try next when memory ran out: first what changes nothing that is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.advise.objectives import OBJECTIVES
from engine.config.conflicts import first_conflict
from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.data.forms import Labelled, PromptOnly
from engine.train.heal.changed import with_settings

SHORTEST = 128  # tokens; below this hardly an answer is left whole


@dataclass(frozen=True, slots=True)
class Rung:
    """A way to need less memory.

    Attributes:
        before: The settings as they are, by key.
        after: The same settings, changed.
        words: What that means, for people.
    """

    before: dict[str, Any]
    after: dict[str, Any]
    words: str


def lighter(config: RunConfig, evaluating: bool) -> Rung | None:
    """The next way to need less memory; None when there is none left."""
    if evaluating:
        return _smaller_evaluation(config) or _shorter(config)
    return _smaller_batch(config) or _checkpointing(config) or _shorter(config)


def _smaller_batch(config: RunConfig) -> Rung | None:
    training = config.training
    batch, accumulation = training.per_device_train_batch_size or 1, training.gradient_accumulation_steps or 1
    rows = batch * accumulation
    for smaller in range(batch // 2, 0, -1):
        if rows % smaller:
            continue  # the rows of a step must stay the same
        before = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        after = {"per_device_train_batch_size": smaller, "gradient_accumulation_steps": rows // smaller}
        if not _makes_sense(config, after):
            continue
        # kto compares each answer with another one of its batch.
        paired = OBJECTIVES[config.method.objective].form is Labelled
        words = (
            f"{_rows(smaller)} at once instead of {batch}, and {rows // smaller} such batches are added up instead of "
            f"{accumulation}: {rows} rows a step on each device as before, so what is learnt stays {'nearly ' if paired else ''}the same"
        )
        return Rung(before, after, words)
    return None


def _smaller_evaluation(config: RunConfig) -> Rung | None:
    batch = config.training.per_device_eval_batch_size or 1
    smaller = batch // 2
    made_up = OBJECTIVES[config.method.objective].form is PromptOnly
    # Two answers to a prompt are the least that can be compared.
    if smaller < 1 or (made_up and smaller * (config.training.num_processes or 1) < 2):
        return None
    return Rung(
        {"per_device_eval_batch_size": batch},
        {"per_device_eval_batch_size": smaller},
        f"evaluation takes {_rows(smaller)} at once instead of {batch}, which changes nothing that is learnt",
    )


def _checkpointing(config: RunConfig) -> Rung | None:
    if config.training.gradient_checkpointing:
        return None
    return Rung(
        {"gradient_checkpointing": False},
        {"gradient_checkpointing": True},
        "gradient checkpointing is switched on, which recomputes instead of remembering: the same result, some 20 to 30 % slower",
    )


def _shorter(config: RunConfig) -> Rung | None:
    length = config.training.max_length or ORDINARY_LENGTH
    after = {"max_length": length // 2}
    if not config.healing.allow_shorter or length // 2 < SHORTEST or not _makes_sense(config, after):
        return None
    words = f"rows are cut off at {length // 2:,} tokens instead of {length:,}, as allow_shorter permits"
    return Rung({"max_length": length}, after, words)


def _makes_sense(config: RunConfig, after: dict[str, Any]) -> bool:
    return first_conflict(with_settings(config, after)) is None


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
