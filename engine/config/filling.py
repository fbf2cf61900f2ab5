"""Filling in the open values of a configuration, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.choice import Choice
from engine.config.resolve_step import with_step
from engine.config.schema import RunConfig, keys
from engine.fit.setup import setup_of
from engine.fit.types import TrainSetup


class Filling:
    """A configuration whose open values are filled in one after the other, each knowing those before it.

    Attributes:
        config: The run as far as it is known.
        choices: What was chosen, by key.
        rows: To learn from; blocks, once texts are laid into them.
    """

    def __init__(self, config: RunConfig, rows: int, longest_row: int | None) -> None:
        self.config = config
        self.rows = rows
        self._longest_row = longest_row
        self.choices: dict[str, Choice[Any]] = {}

    def fill(self, key: str, choose: Callable[[], Choice[Any]]) -> None:
        """Choose the value of `key` unless the user did."""
        if getattr(getattr(self.config, keys()[key]), key) is not None:
            return
        choice = choose()
        self.choices[key] = choice
        self.config = _with(self.config, key, choice.value)

    def setup(self, **settings: Any) -> TrainSetup:
        """The run as the predictors see it, with these settings; what is open of its step as it will be (`with_step`)."""
        config = self.config
        for key, value in settings.items():
            config = _with(config, key, value)
        return setup_of(with_step(config, self.rows), self._longest_row)


def _with(config: RunConfig, key: str, value: Any) -> RunConfig:
    section = keys()[key]
    part = getattr(config, section).model_copy(update={key: value})
    return config.model_copy(update={section: part})
