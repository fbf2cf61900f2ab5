"""One module for each objective: what it makes of the rows, its TRL configuration, its trainer."""

from __future__ import annotations

import importlib

from engine.train.objectives.base import Objective


def load_objective(name: str) -> Objective:
    """The objective of that name; only its own part of TRL is loaded."""
    module = importlib.import_module(f"engine.train.objectives.{name}")
    objective: Objective = module.OBJECTIVE
    return objective
