"""Between the training loop and the run directory: events out, requests in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine.run import control as requests
from engine.train.recorder import Recorder

SHOWN = {"loss", "grad_norm", "learning_rate", "epoch", "num_tokens", "mean_token_accuracy", "entropy"}


class RunCallback(TrainerCallback):
    """Writes metric, evaluation and checkpoint events; obeys SIGTERM and the control folder."""

    def __init__(self, recorder: Recorder, terminated: Callable[[], bool]) -> None:
        self.recorder = recorder
        self.terminated = terminated
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
        point = {key: value for key, value in logs.items() if key in SHOWN}
        self.recorder.metric(step=state.global_step, max_steps=state.max_steps, **point, **speed)
        print(_log_line(state, logs), flush=True) if state.is_world_process_zero else None

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
        self.recorder.emit(
            "evaluation",
            step=state.global_step,
            max_steps=state.max_steps,
            epoch=state.epoch,
            eval_loss=loss,
            perplexity=math.exp(min(loss, 50.0)),
            eval_mean_token_accuracy=metrics.get("eval_mean_token_accuracy"),
            best=loss <= min((e["eval_loss"] for e in state.log_history if "eval_loss" in e), default=loss),
        )
        # The time an evaluation takes must not look like slow training.
        self._last_time = time.monotonic()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        name = f"checkpoint-{state.global_step}"
        self.recorder.emit(
            "checkpoint", step=state.global_step, path=f"checkpoints/{name}", words=f"Saved {name}."
        )
        self.recorder.sync()
        self._last_time = time.monotonic()

    def _agreed_stop(self, asked: set[str]) -> str | None:
        """Whether to stop, the same answer on every rank; the strongest wish of any rank wins."""
        wish = 3 if "stop-now" in asked else 2 if "stop-and-save" in asked else 1 if self.terminated() else 0
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            import torch

            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            shared = torch.tensor(wish, device=device)
            dist.all_reduce(shared, op=dist.ReduceOp.MAX)
            wish = int(shared.item())
        return (None, "terminated", "stop-and-save", "stop-now")[wish]


def _log_line(state: TrainerState, logs: dict[str, Any]) -> str:
    return (
        f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}  "
        f"lr {logs.get('learning_rate', 0):.3g}  grad {logs.get('grad_norm', 0):.3g}"
    )
