"""Which files of a run hold the trained model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.advise.objectives import OBJECTIVES
from engine.config.loading import load
from engine.config.schema import RunConfig
from engine.display import printable
from engine.errors import UserError
from engine.hub.pin import remembered
from engine.run.checkpoints import finished, step_of
from engine.run.layout import RunDir

BASE, RESULT, BEST = "base", "result", "best"
Kind = Literal["chat", "text", "score"]
_CHECKPOINT = re.compile(r"(?:checkpoint-)?(\d{1,12})")


@dataclass(frozen=True, slots=True)
class Trained:
    """A model of a run on disk.

    Attributes:
        config: The run, with the commit its model was taken from.
        path: Folder of the adapter, or of the whole model.
        is_adapter: Whether it needs the base model of `config`.
        words: What it is, for the user.
        name: How it is called in commands: ``result``, ``base`` or ``checkpoint-40``.
    """

    config: RunConfig
    path: Path
    is_adapter: bool
    words: str
    name: str = RESULT

    @property
    def is_base(self) -> bool:
        """It is the model as it was before training."""
        return self.name == BASE

    @property
    def kind(self) -> Kind:
        """What one does with it: chat, let it go on with a text, or let it score answers."""
        objective = self.config.method.objective
        if not OBJECTIVES[objective].talks:
            return "score"
        return "text" if objective == "cpt" else "chat"


def find_trained(run: RunDir, which: str | None = None) -> Trained:
    """A model of a run.

    Args:
        run: Its directory.
        which: ``result``, ``best`` (the checkpoint with the best evaluation), ``checkpoint-40`` or ``40``, ``base`` (the model
            before training); None for the result, or the newest checkpoint while there is none.

    Raises:
        UserError: It has not been saved, or not yet.
    """
    config = _pinned(run)
    is_adapter = config.method.tuning == "lora"
    result = run.adapter if is_adapter else run.model
    saved = finished(run.checkpoints)
    if which is None:
        if not result.is_dir() and not saved:
            raise UserError(
                "This run has saved nothing yet that one could talk to.",
                str(run.path),
                f"Wait for the first checkpoint (finetui attach {run.name}), or continue the run: finetui resume {run.name}",
            )
        which = RESULT if result.is_dir() else saved[-1].name
    if which == BASE:
        folder = Path(config.model.model_name_or_path).expanduser()
        name = folder.name if folder.is_absolute() else config.model.model_name_or_path
        return Trained(config, folder, False, f"the base model {printable(name, 100)}", BASE)
    if which == RESULT:
        if not result.is_dir():
            raise UserError(
                f"The run {run.name} has no result: it has not finished, or the result was deleted.",
                str(result),
                _offer(run),
            )
        return Trained(config, _complete(result, is_adapter), is_adapter, f"the result of {run.name}")
    found = _checkpoint(run, which, saved)
    words = f"the checkpoint of {run.name} at step {step_of(found)}"
    if which == BEST:
        words = f"the best checkpoint of {run.name}, of step {step_of(found)}"
    return Trained(config, _complete(found, is_adapter), is_adapter, words, found.name)


def require_base(trained: Trained) -> None:
    """Before something is loaded: the base model of an adapter is where it was.

    Raises:
        UserError: Its folder is gone. A model of the Hub is looked for when it is loaded.
    """
    folder = Path(trained.config.model.model_name_or_path).expanduser()
    if (trained.is_adapter or trained.is_base) and folder.is_absolute() and not folder.is_dir():
        raise UserError(
            "The base model of this run is no longer where it was; an adapter is only the learned part and needs it.",
            str(folder),
            "Put the folder back, or write its new place into the run's run.yaml (model_name_or_path).",
        )


def choices(run: RunDir) -> list[str]:
    """Every model of a run that is there now, by name; the result first, the base last."""
    config = load(run.config)
    result = run.adapter if config.method.tuning == "lora" else run.model
    names = [RESULT] if result.is_dir() else []
    names += [path.name for path in reversed(finished(run.checkpoints))]
    return [*names, BASE] if OBJECTIVES[config.method.objective].talks else names


def _pinned(run: RunDir) -> RunConfig:
    config = load(run.config)
    model = config.model
    commit = remembered(run.path, model.model_name_or_path, model.model_revision)
    return config.model_copy(update={"model": model.model_copy(update={"model_revision": commit})})


def _checkpoint(run: RunDir, which: str, saved: list[Path]) -> Path:
    if which == BEST:
        link = run.checkpoints / BEST
        target = run.checkpoints / link.readlink().name if link.is_symlink() else link
        if step_of(target) >= 0 and target.is_dir():
            return target
        raise UserError(
            "No checkpoint of this run is marked as the best one.",
            str(link),
            f"{_offer(run)} It is marked when held-out rows are evaluated and the checkpoint of that step is kept.",
        )
    match = _CHECKPOINT.fullmatch(which)
    if match is None:
        raise UserError(
            f"{printable(which, 60)!r} names no model of a run.",
            run.name,
            "Say result, base, best, or the step of a checkpoint such as 40.",
        )
    found = next((path for path in saved if step_of(path) == int(match[1])), None)
    if found is None:
        raise UserError(
            f"The run {run.name} has no checkpoint of step {int(match[1])}.",
            str(run.checkpoints),
            _offer(run),
        )
    return found


def _offer(run: RunDir) -> str:
    names = choices(run)
    return f"There is: {', '.join(names)}." if names else f"Continue the run: finetui resume {run.name}."


def _complete(folder: Path, is_adapter: bool) -> Path:
    needed = "adapter_config.json" if is_adapter else "config.json"
    if (folder / needed).is_file():
        return folder
    raise UserError(
        f"The trained model is damaged: {needed} is missing.",
        str(folder),
        "Take another checkpoint (finetui chat RUN --checkpoint STEP), or train again.",
    )
