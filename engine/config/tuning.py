"""Which of the ways to train a configuration takes, and which one the plan takes when nobody chooses."""

from __future__ import annotations

from dataclasses import replace

from engine.choice import Choice
from engine.config.draft import Draft, plan
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.machine.model import Machine


def tuning_of(config: RunConfig) -> str:
    """The id of the way a configuration trains, as in `engine.config.draft.TUNINGS`."""
    if config.method.tuning != "lora":
        return config.method.tuning
    return "qlora" if config.model.load_in_4bit else "lora8" if config.model.load_in_8bit else "lora"


def suggest_tuning(draft: Draft, machine: Machine | None) -> Choice[str]:
    """The way to train that the plan takes when nobody chooses; LoRA where the answers give no plan."""
    try:
        made = plan(replace(draft, tuning=None, settings={}), machine)
    except UserError:
        return Choice("lora", "LoRA needs little memory and is hard to break.")
    reason = made.choices.get("tuning") or made.choices.get("load_in_4bit")
    chosen = tuning_of(made.config)
    if made.fit is None or reason is None:
        return Choice(chosen, "On a processor LoRA is the fastest, and memory is no problem.")
    return Choice(chosen, str(reason.reason))
