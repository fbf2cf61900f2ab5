"""run.yaml as it is honoured from here on: with what was changed so that the run could go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import ORDINARY_LENGTH, RunConfig, keys
from engine.run import changes
from engine.run.layout import RunDir
from engine.train.recorder import Recorder


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """The configuration with other values, by key."""
    section_of = keys()
    sections: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        sections.setdefault(section_of[key], {})[key] = value
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    )


def value_of(config: RunConfig, key: str) -> Any:
    """A setting as the trainer takes it, also where run.yaml leaves it open."""
    open_values = {
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "max_length": ORDINARY_LENGTH,
        "learning_rate": OBJECTIVES[config.method.objective].full_rate,
    }
    value = getattr(getattr(config, keys()[key]), key)
    return open_values.get(key) if value is None else value


def honoured(run: RunDir, config: RunConfig) -> RunConfig:
    """The configuration with every kept change.

    A change counts only as long as run.yaml holds what it was made from: what the user has written there since wins.
    """
    known = keys()
    for change in changes.read(run):
        if all(
            key in known and value_of(config, key) == change.before.get(key, value_of(config, key))
            for key in change.after
        ):
            config = with_settings(config, change.after)
    return config


def tell(run: RunDir, recorder: Recorder) -> None:
    """Say what was changed between the attempt before and this one."""
    for change in changes.read(run):
        if change.attempt == recorder.attempt - 1:
            emit(recorder, change)


def emit(recorder: Recorder, change: changes.Change) -> None:
    """One change as an event and a line of the log."""
    recorder.emit(
        "change",
        why=change.why,
        step=change.step,
        before=change.before,
        after=change.after,
        words=f"{change.words} ({change.difference})" if change.after else change.words,
    )
    recorder.say(change.words)
