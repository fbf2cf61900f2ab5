"""Whether a run left something to talk to or to export."""

from __future__ import annotations

from engine.run.checkpoints import finished
from engine.run.layout import RunDir


def has_result(run: RunDir) -> bool:
    """There is a result, or at least a checkpoint."""
    return run.adapter.is_dir() or run.model.is_dir() or bool(finished(run.checkpoints))
