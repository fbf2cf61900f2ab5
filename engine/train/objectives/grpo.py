"""GRPO: several answers to each prompt are scored, and learnt from by how they compare with each other."""

from __future__ import annotations

from typing import Any

from trl import GRPOConfig, GRPOTrainer

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.train.objectives import online
from engine.train.objectives.base import Objective, given_values
from engine.train.safe_save import SafeSaves
from engine.train.tuning import LoraPlus


class Trainer(SafeSaves, LoraPlus, online.TextPrompts, GRPOTrainer):
    """TRL's trainer with safe saves."""


def own(config: RunConfig) -> dict[str, Any]:
    """Fields of GRPOConfig."""
    return {
        **online.own(config),
        "scale_rewards": config.generation.scale_rewards,
        **given_values(loss_type=config.method.loss_type),
    }


OBJECTIVE = Objective(OBJECTIVES["grpo"], GRPOConfig, Trainer, online.prepare, own, online.given)
