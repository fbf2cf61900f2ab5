"""Continuing a run."""

from __future__ import annotations

from engine.config.loading import load
from engine.errors import UserError
from engine.run import atomic
from engine.run.launch import launch
from engine.run.layout import RunDir
from engine.run.state import is_live, read_state


def resume(run: RunDir) -> None:
    """Start the trainer again on a run that ended early.

    Raises:
        UserError: It is finished, still going on, or its run.yaml no longer makes sense.
    """
    state = read_state(run)
    if state.state == "finished" and not is_live(run):
        raise UserError(
            "This run is complete; there is nothing to continue.",
            run.name,
            f"Talk to it: finetui chat {run.name}   or start a new run with: finetui train -c {run.config}",
        )
    config = load(run.config)
    env = (atomic.read_json(run.launch) or {}).get("env", {})
    kept = {key: str(value) for key, value in env.items() if key == "CUDA_VISIBLE_DEVICES"}
    launch(run, config.training.num_processes or 1, kept)
