"""Watches the logged loss while it trains, and ends training that no longer makes sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.data.forms import Conversation, PromptOnly, Text
from engine.train.heal.curves import Curve, LossBroken
from engine.train.recorder import Recorder


class Watchdog(TrainerCallback):
    """Feeds the curve; warns of what may be meant, raises `LossBroken` at what cannot be."""

    def __init__(self, recorder: Recorder, config: RunConfig) -> None:
        self.recorder = recorder
        form = OBJECTIVES[config.method.objective].form
        self.curve = Curve(form is not PromptOnly, form in (Conversation, Text))
        self._warned: set[str] = set()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What was logged before a resume counts, too."""
        self.curve = replace(self.curve, scaled=args.fp16)
        for entry in state.log_history:
            if "loss" in entry and "step" in entry:
                self.curve.feed(entry["step"], float(entry["loss"]), _number(entry.get("grad_norm")))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take a point.

        Raises:
            LossBroken: Going on would waste time.
        """
        if not logs or "loss" not in logs:
            return
        found = self.curve.feed(state.global_step, float(logs["loss"]), _number(logs.get("grad_norm")))
        if found is not None:
            raise LossBroken(found)
        times = self.curve.jump()
        if times is not None:
            self._warn(
                "jump",
                f"The gradients have become {times:,.0f} times larger than before: training may be about to fall apart.",
                "If the loss rises as well, stop and begin again with a lower learning_rate.",
            )
        if self.curve.is_flat():
            first, now = self.curve.span
            self._warn(
                "flat",
                f"The loss has hardly moved in {state.global_step} steps: it was {first:.3f} and is {now:.3f}.",
                "The learning rate may be too low, or the data hold nothing that the model does not know.",
            )

    def _warn(self, what: str, words: str, fix: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self.recorder.warning(words, fix)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
