"""Which files of a run hold the trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.advise.objectives import OBJECTIVES
from engine.config.loading import load
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.hub.pin import remembered
from engine.run.checkpoints import finished, step_of
from engine.run.layout import RunDir


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model on disk.

    Attributes:
        path: Folder of the adapter, or of the whole model.
        is_adapter: Whether it needs the base model of `config`.
        words: What it is, for the user.
    """

    config: RunConfig
    path: Path
    is_adapter: bool
    words: str


def find_trained(run: RunDir) -> Trained:
    """The result of a run, or its newest checkpoint while there is no result.

    Raises:
        UserError: Nothing has been saved yet.
    """
    config = load(run.config)
    if not OBJECTIVES[config.method.objective].talks:
        raise UserError(
            "This run trained a reward model, which scores answers and cannot write any.",
            run.name,
            "Use its folder as the reward of another run, or talk to a run with another objective.",
        )
    model = config.model
    commit = remembered(run.path, model.model_name_or_path, model.model_revision)
    config = config.model_copy(update={"model": model.model_copy(update={"model_revision": commit})})
    is_adapter = config.method.tuning == "lora"
    result = run.adapter if is_adapter else run.model
    if result.is_dir():
        return Trained(config, result, is_adapter, f"the result of {run.name}")
    saved = finished(run.checkpoints)
    if saved:
        return Trained(
            config, saved[-1], is_adapter, f"the checkpoint of {run.name} at step {step_of(saved[-1])}"
        )
    raise UserError(
        "This run has saved nothing yet that one could talk to.",
        str(run.path),
        f"Wait for the first checkpoint (finetui attach {run.name}), or continue the run: finetui resume {run.name}",
    )
