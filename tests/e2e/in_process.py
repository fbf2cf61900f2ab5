"""Whole runs inside the test's own process: the trainer's code without the seconds a process takes to load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.draft import DEMO, prepare
from engine.config.loading import load
from engine.config.schema import RunConfig
from engine.run.events import EventReader, expand
from engine.run.layout import RunDir, create

RECIPES = DEMO.parent / "recipes"


@dataclass(frozen=True, slots=True)
class Done:
    """A run that has ended.

    Attributes:
        run: Its folder.
        config: As it was completed.
        events: Everything it told.
    """

    run: RunDir
    config: RunConfig
    events: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind, metric points one by one."""
        return [event for event in self.events if event["kind"] == kind]

    def measured(self, name: str) -> list[float]:
        """A number of every evaluation, in order."""
        return [event[name] for event in self.of("evaluation")]


def train(recipe: str, overrides: Mapping[str, Any] | None = None, name: str = "here") -> Done:
    """Train a recipe of presets/recipes to its end, with some settings changed."""
    changed = {key: str(value) for key, value in (overrides or {}).items()}
    return train_config(load(RECIPES / f"{recipe}.yaml", changed), name)


def train_config(config: RunConfig, name: str = "here") -> Done:
    """Train a configuration to its end; it is completed first, for a machine without a card."""
    from engine.train import job
    from engine.train.recorder import Recorder

    plan = prepare(config, None, name)
    run = create(name, numbered=True)
    Path(run.config).write_text(plan.yaml, encoding="utf-8")
    recorder = Recorder(run)
    try:
        job.train(run, recorder, lambda: False)
    finally:
        recorder.close()
    told = [point for event in EventReader(run.events).read(1 << 26) for point in expand(event)]
    return Done(run, plan.config, told)
