"""Between the training loop and the run directory: events out, requests in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine.advise.objectives import OBJECTIVES, shown_metric
from engine.config.schema import RunConfig
from engine.data.forms import Conversation, Text
from engine.run import control as requests
from engine.train import best
from engine.train.heal.agree import strongest
from engine.train.model import optimizer_dtypes, stated_optimizer_dtype
from engine.train.recorder import Recorder

SHOWN = {"loss", "grad_norm", "learning_rate", "epoch", "num_tokens", "mean_token_accuracy", "entropy"}


class RunCallback(TrainerCallback):
    """Writes metric, evaluation and checkpoint events; obeys SIGTERM and the control folder."""

    def __init__(self, recorder: Recorder, terminated: Callable[[], bool], config: RunConfig) -> None:
        self.recorder = recorder
        self.terminated = terminated
        self.config = config
        self._about = OBJECTIVES[config.method.objective]
        self._checked_optimizer = False
        self.stop_reason: str | None = None
        self._last_tokens: float | None = None
        self._last_time = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._last_time = time.monotonic()
        self.recorder.phase(
            "training",
            "Training.",
            step=state.global_step,
            max_steps=state.max_steps,
            epochs=state.num_train_epochs,
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._check_optimizer(kwargs.get("optimizer"))
        asked = requests.take(self.recorder.run) if not self.recorder.silent else set()
        stop = self._agreed_stop(asked)
        if "checkpoint" in asked:
            control.should_save = True
        if "evaluate" in asked:
            control.should_evaluate = True
        if stop:
            self.stop_reason = stop
            control.should_training_stop = True
            control.should_save = stop != "stop-now"
        for what in sorted(asked):
            self.recorder.emit(
                "change", request=what, step=state.global_step, words=f"Request taken: {what}."
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        now = time.monotonic()
        tokens = logs.get("num_tokens")
        speed = {}
        if tokens is not None and self._last_tokens is not None and now > self._last_time:
            speed["tokens_per_second"] = round((tokens - self._last_tokens) / (now - self._last_time), 1)
        self._last_tokens, self._last_time = tokens, now
        point = {
            key: value for key, value in logs.items() if key in SHOWN or shown_metric(self._about.id, key)
        }
        self.recorder.metric(step=state.global_step, max_steps=state.max_steps, **point, **speed)
        self.recorder.say(_log_line(state, logs))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        metrics = metrics or {}
        loss = metrics.get("eval_loss")
        if loss is None:
            return
        told = {
            key: value
            for key, value in metrics.items()
            if key.startswith("eval_") and shown_metric(self._about.id, key.removeprefix("eval_"))
        }
        # What every word of is imitated has a perplexity; a loss about preferences or rewards has none.
        if self._about.form in (Conversation, Text):
            told["perplexity"] = math.exp(min(loss, 50.0))
        self.recorder.emit(
            "evaluation",
            step=state.global_step,
            max_steps=state.max_steps,
            epoch=state.epoch,
            eval_loss=loss,
            **told,
            best_by=self._about.best_by,
            best=self._is_best(state),
        )
        # The time an evaluation takes must not look like slow training.
        self._last_time = time.monotonic()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        name = f"checkpoint-{state.global_step}"
        if not (self.recorder.run.checkpoints / name).is_dir():
            # No room on the disk, or nothing worth saving: that was told when it happened.
            if self.stop_reason in ("terminated", "pause", "stop-and-save"):
                self.stop_reason = "unsaved"
            return
        is_best = bool(state.best_model_checkpoint) and Path(str(state.best_model_checkpoint)).name == name
        if is_best and not self.recorder.silent:
            best.mark(self.recorder.run.checkpoints, name)
        self.recorder.emit(
            "checkpoint",
            step=state.global_step,
            path=f"checkpoints/{name}",
            best=is_best,
            words=f"Saved {name}{', the best so far' if is_best else ''}.",
        )
        self.recorder.sync()
        self._last_time = time.monotonic()

    def _is_best(self, state: TrainerState) -> bool:
        """Whether no evaluation before was better, by the measure of the objective."""
        values = best.measured(state.log_history, self._about.best_by)
        return best.best_step(values, self._about.higher_is_better) == state.global_step

    def _check_optimizer(self, optimizer: Any) -> None:
        """After the first step: the optimizer's notes are in the number format the header told."""
        stated = stated_optimizer_dtype(self.config)
        if self._checked_optimizer or optimizer is None or stated is None:
            return
        self._checked_optimizer = True
        found = optimizer_dtypes(optimizer)
        if found and found != {stated}:
            self.recorder.warning(
                f"The optimizer keeps its notes in {', '.join(sorted(found))}, not in {stated} as stated."
            )

    def _agreed_stop(self, asked: set[str]) -> str | None:
        """Whether to stop, the same answer on every rank; the strongest wish of any rank wins."""
        wishes = (None, "terminated", *requests.STOPS)
        asked_for = [wish for wish in requests.STOPS if wish in asked]
        wish = asked_for[-1] if asked_for else "terminated" if self.terminated() else None
        return wishes[strongest(wishes.index(wish))]

    def leave_out(self, seconds: float) -> None:
        """Time that went into something else than training, so that it does not look like slow training."""
        self._last_time += seconds

    def is_ending(self) -> bool:
        """Whether somebody wants the run to end, so that it should not wait for anything."""
        return (
            self.stop_reason is not None
            or self.terminated()
            or any(requests.is_requested(self.recorder.run, stop) for stop in requests.STOPS)
        )


def _log_line(state: TrainerState, logs: dict[str, Any]) -> str:
    return (
        f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}  "
        f"lr {logs.get('learning_rate', 0):.3g}  grad {logs.get('grad_norm', 0):.3g}"
    )
