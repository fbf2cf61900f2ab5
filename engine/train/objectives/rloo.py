"""RLOO: several answers to each prompt are scored, each measured against the mean of the others."""

from __future__ import annotations

from trl import RLOOConfig, RLOOTrainer

from engine.advise.objectives import OBJECTIVES
from engine.train.objectives import online
from engine.train.objectives.base import Objective
from engine.train.safe_save import SafeSaves
from engine.train.tuning import LoraPlus


class Trainer(SafeSaves, LoraPlus, online.TextPrompts, RLOOTrainer):
    """TRL's trainer with safe saves."""


OBJECTIVE = Objective(OBJECTIVES["rloo"], RLOOConfig, Trainer, online.prepare, online.own, online.given)
