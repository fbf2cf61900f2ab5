"""Filling in the open values of a configuration, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.choice import Choice
from engine.config.schema import RunConfig, keys
from engine.fit.setup import setup_of
from engine.fit.types import TrainSetup


class Filling:
    """A configuration whose open values are filled in one after the other, each knowing those before it."""

    def __init__(self, config: RunConfig, longest_row: int | None) -> None:
        self.config = config
        self._longest_row = longest_row
        self.choices: dict[str, Choice[Any]] = {}

    def fill(self, key: str, choose: Callable[[], Choice[Any]]) -> None:
        """Choose the value of `key` unless the user did."""
        section = keys()[key]
        part = getattr(self.config, section)
        if getattr(part, key) is not None:
            return
        choice = choose()
        self.choices[key] = choice
        self.config = self.config.model_copy(update={section: part.model_copy(update={key: choice.value})})

    def setup(self, **changes: Any) -> TrainSetup:
        """The run as far as it is known."""
        return replace(setup_of(self.config, self._longest_row), **changes)
