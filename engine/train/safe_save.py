"""A trainer whose checkpoints appear whole or not at all, and whose evaluations leave no trace in the random state."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import Trainer
from transformers.trainer_utils import rotate_checkpoints

from engine.run import atomic, checkpoints
from engine.train.best import best_step, measured
from engine.train.heal.agree import strongest
from engine.train.heal.disk import MARGIN, Room, saying_full


class SafeSaves:
    """Mixed into a TRL trainer, before it in the method order.

    Attributes:
        room: Finds room on a full disk; without it a full disk is an error.
    """

    args: Any
    state: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any
    accelerator: Any
    room: Room | None = None
    _staging: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else str(self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write under a hidden name, seal with checksums, fsync, rename, and only then drop the oldest.

        Weights that are no numbers are not saved: the checkpoints before them stay the newest.
        """
        if not self._weights_are_numbers():
            if self.room:
                self.room.recorder.warning(
                    f"Step {self.state.global_step} is not saved: the weights are no numbers (NaN) any more."
                )
            return
        if self.room:
            # A process that dies right after the checkpoint is there never tells these steps again.
            self.room.recorder.sync()
        home = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        best = self._best_saved(home)
        self.state.best_model_checkpoint = str(home / best) if best else None
        if self.room is None:
            self._write_checkpoint(model, trial, home, name)
        else:
            what = f"the checkpoint of step {self.state.global_step}"
            keep = {best} if best else set()
            saved = self.room.write(
                home,
                what,
                self.checkpoint_bytes(),
                keep,
                lambda: self._write_checkpoint(model, trial, home, name),
            )
            if not saved:
                return
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(home),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )
        self.accelerator.wait_for_everyone()

    def _best_saved(self, home: Path) -> str | None:
        """The name of the best checkpoint, counting the one that is about to be written; None where nothing is measured."""
        if not self.args.metric_for_best_model:
            return None
        steps = {checkpoints.step_of(path) for path in checkpoints.finished(home)} | {self.state.global_step}
        values = measured(self.state.log_history, self.args.metric_for_best_model)
        step = best_step(values, bool(self.args.greater_is_better), steps)
        return None if step is None else f"checkpoint-{step}"

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers does, but it drops no checkpoint: with a limit of 1 it would be the newest, needed to go on."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(*args, **kwargs)  # type: ignore[misc]
        finally:
            self.args.save_total_limit = limit

    def _write_checkpoint(self, model: Any, trial: Any, home: Path, name: str) -> None:
        self._staging = home / f".saving-{self.state.global_step}"
        try:
            with saying_full(home):
                # TRL's own override writes a model card beside every checkpoint; ours is written once, at export.
                Trainer._save_checkpoint(self, model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    checkpoints.seal(self._staging / name)
                    atomic.publish(self._staging / name, home / name)
        finally:
            if self.args.should_save:
                shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None

    def _weights_are_numbers(self) -> bool:
        """Whether every trained weight is finite, on every process; one wait for the device."""
        trained = [_local(weight.detach()) for weight in self.model.parameters() if weight.requires_grad]
        # The largest number of each: a reduction, which needs no memory to speak of where there may be little left.
        found = [
            torch.linalg.vector_norm(weight, ord=math.inf).float() for weight in trained if weight.numel()
        ]
        broken = bool(found) and not bool(
            torch.isfinite(torch.stack([largest.to(found[0].device) for largest in found])).all()
        )
        return strongest(int(broken)) == 0

    def checkpoint_bytes(self) -> int:
        """What a checkpoint takes on disk, about: the trained weights and the optimizer's states; the rest is small."""
        trained = sum(_bytes(weight) for weight in self.model.parameters() if weight.requires_grad)
        states = getattr(self.optimizer, "state", None)
        known = (value for state in (states or {}).values() for value in state.values())
        # Before the first step there are no states yet; most optimizers keep two numbers for each weight.
        kept = (
            sum(_bytes(value) for value in known if isinstance(value, torch.Tensor))
            if states
            else 2 * trained
        )
        return trained + kept + (trained + kept) // 50 + MARGIN

    def result_bytes(self) -> int:
        """What the trained adapter or model takes on disk, about."""
        adapter = hasattr(self.model, "peft_config")
        written = (weight for weight in self.model.parameters() if weight.requires_grad or not adapter)
        return sum(_bytes(weight) for weight in written) + MARGIN

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As transformers does, but a run that is resumed after its last step trains no step more."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """As transformers does, but the learning rate is the one that is asked for now, not the one when it was saved."""
        asked = [group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups]
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        changed = False
        for group, rate in zip(self.optimizer.param_groups, asked, strict=True):
            saved = group.get("initial_lr", rate)
            if saved != rate and saved > 0:
                group["lr"] = group["lr"] * (rate / saved)
                group["initial_lr"] = rate
                changed = True
        if changed and hasattr(self.lr_scheduler, "base_lrs"):
            self.lr_scheduler.base_lrs = asked
            self.lr_scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _load_scaler(self, checkpoint: str | None) -> None:
        """float16's scale, unless training goes on in another number format, which has none."""
        if getattr(self.accelerator, "scaler", None) is not None:
            super()._load_scaler(checkpoint)  # type: ignore[misc]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate without moving the random state, so that measuring never changes what is trained."""
        with preserved_random_state():
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]


class preserved_random_state:
    """Put the random state of torch, numpy and Python back as it was."""

    def __enter__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
        self._python, self._numpy = random.getstate(), numpy.random.get_state()

    def __exit__(self, *exc: object) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        random.setstate(self._python)
        numpy.random.set_state(self._numpy)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _local(weight: torch.Tensor) -> torch.Tensor:
    """This process's part of a weight that is split between several."""
    return weight.to_local() if hasattr(weight, "to_local") else weight
