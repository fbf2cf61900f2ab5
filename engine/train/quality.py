"""Is it getting better? Early stopping, overfitting told, answers while it trains, and the best checkpoint as the result."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine.advise.objectives import OBJECTIVES
from engine.advise.overfitting import overfitting
from engine.config.schema import RunConfig
from engine.data.forms import PromptOnly
from engine.run import checkpoints
from engine.train import best
from engine.train.asking import Asking
from engine.train.recorder import Recorder


class Quality(TrainerCallback):
    """Looks at every evaluation, and asks the user's questions every so many steps.

    What it decides follows from the trainer's log alone, which checkpoints carry, so a resumed run decides the same.

    Attributes:
        asking: Puts the questions; without it none are asked.
        stopped_early: Why training ended before its last step, in a sentence; empty if it did not.
    """

    def __init__(self, recorder: Recorder, config: RunConfig) -> None:
        self.recorder = recorder
        self.config = config
        self.asking: Asking | None = None
        self.stopped_early = ""
        self._about = OBJECTIVES[config.method.objective]
        self._told = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # What an attempt before has told is not told again.
        held_out = best.measured(state.log_history, "eval_loss")
        training = best.measured(state.log_history, "loss")
        steps = sorted(held_out)
        self._told = any(
            overfitting(
                {step: held_out[step] for step in steps[: count + 1]},
                {step: loss for step, loss in training.items() if step <= steps[count]},
            )
            for count in range(len(steps))
        )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Here the step before is logged, measured and saved, so that answering slowly puts none of it at risk.
        if self.asking is not None:
            self.asking.ask_now(state.global_step, state.max_steps)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        watch = self.config.watch
        values = best.measured(state.log_history, self._about.best_by)
        if not values or state.global_step == 0:
            return
        if (
            watch.load_best_model_at_end
            and best.best_step(values, self._about.higher_is_better) == state.global_step
        ):
            control.should_save = True
        self._tell_overfitting(state)
        worse = best.evaluations_since_best(values, self._about.higher_is_better)
        if (
            watch.early_stopping_patience
            and worse >= watch.early_stopping_patience
            and state.global_step < state.max_steps
            and not self.stopped_early
        ):
            top = best.best_step(values, self._about.higher_is_better)
            self.stopped_early = (
                f"Stopped early at step {state.global_step} of {state.max_steps}: none of the last {worse} evaluations was "
                f"better than that of step {top}."
            )
            control.should_training_stop = True
            control.should_save = True
            self.recorder.emit(
                "change", why="early stop", step=state.global_step, best_step=top, words=self.stopped_early
            )
            self.recorder.say(self.stopped_early)

    def _tell_overfitting(self, state: TrainerState) -> None:
        # Where answers are made up, neither loss says how good they are.
        if self._told or self._about.form is PromptOnly:
            return
        found = overfitting(
            best.measured(state.log_history, "eval_loss"), best.measured(state.log_history, "loss")
        )
        if found is None:
            return
        self._told = True
        top = self._best_saved(state)
        standing = (
            f"the best checkpoint is step {top}"
            if top is not None
            else "no checkpoint of a better step is kept"
        )
        advice = (
            "The result will be the best checkpoint."
            if self.config.watch.load_best_model_at_end
            else "Train for fewer epochs, or set early_stopping_patience 3 and load_best_model_at_end true."
        )
        self.recorder.warning(
            f"Overfitting: since step {found.since} the loss on held-out rows rises ({found.held_out[0]:.3f} to "
            f"{found.held_out[1]:.3f}) while the loss on training rows falls ({found.training[0]:.3f} to "
            f"{found.training[1]:.3f}), so rows are learnt by heart; {standing}.",
            advice,
        )

    def _best_saved(self, state: TrainerState) -> int | None:
        steps = {checkpoints.step_of(path) for path in checkpoints.finished(self.recorder.run.checkpoints)}
        values = best.measured(state.log_history, self._about.best_by)
        return best.best_step(values, self._about.higher_is_better, steps)


def take_best(trainer: Any, config: RunConfig, recorder: Recorder) -> dict[str, float]:
    """Put the weights of the best checkpoint into the model, if that is asked and the last step is not the best.

    Returns:
        What was measured at that step; empty when the weights stay.
    """
    about = OBJECTIVES[config.method.objective]
    state, folder = trainer.state, recorder.run.checkpoints
    if not config.watch.load_best_model_at_end:
        return {}
    values = best.measured(state.log_history, about.best_by)
    standing = {checkpoints.step_of(path) for path in checkpoints.finished(folder)} | {state.global_step}
    # Whole ones only: a damaged checkpoint gives way to the next best.
    while (step := best.best_step(values, about.higher_is_better, standing)) is not None:
        if step == state.global_step:
            return {}
        path = folder / f"checkpoint-{step}"
        if (why := checkpoints.damage(path)) is None:
            break
        recorder.warning(f"The best checkpoint, step {step}, cannot be used: {why}.")
        standing.discard(step)
    else:
        return {}
    from engine.train.model import cast_trainable, trained_dtype

    trainer._load_from_checkpoint(str(path))
    cast_trainable(trainer.model, trained_dtype(config))
    words = f"The result is the best checkpoint, step {step}: {about.best_by} {values[step]:.4f}."
    recorder.emit("change", why="best checkpoint", step=step, words=words)
    recorder.say(words)
    return next(
        dict(entry)
        for entry in reversed(state.log_history)
        if entry.get("step") == step and about.best_by in entry
    )
