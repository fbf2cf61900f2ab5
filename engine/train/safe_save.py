"""A trainer whose checkpoints appear whole or not at all, and whose evaluations leave no trace in the random state."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_utils import rotate_checkpoints
from trl import SFTTrainer

from engine.run import atomic


class SafeSaves:
    """Mixed into a TRL trainer, before it in the method order."""

    args: Any
    state: Any
    model: Any
    accelerator: Any
    _staging: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else str(self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write under a hidden name, fsync, rename, and only then drop the oldest."""
        home = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        best = f"checkpoint-{self.state.best_global_step}" if self.state.best_global_step else None
        if best and (best == name or (home / best).is_dir()):
            self.state.best_model_checkpoint = str(home / best)
        self._staging = home / f".saving-{self.state.global_step}"
        try:
            # TRL's own override writes a model card beside every checkpoint; ours is written once, at export.
            Trainer._save_checkpoint(self, model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                atomic.publish(self._staging / name, home / name)
        finally:
            if self.args.should_save:
                shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(home),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )
        self.accelerator.wait_for_everyone()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate without moving the random state, so that measuring never changes what is trained."""
        with preserved_random_state():
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]


class preserved_random_state:
    """Put torch's random state back as it was."""

    def __enter__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None

    def __exit__(self, *exc: object) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)


class SafeSFTTrainer(SafeSaves, SFTTrainer):
    """TRL's SFT trainer with safe saves."""
