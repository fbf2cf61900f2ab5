"""The round-trip proof: the same prompts through the trained model and through everything that was exported of it."""

from __future__ import annotations

from pathlib import Path

from engine.deliver.export.job import Job, Tell
from engine.deliver.proof.types import Proof


def prove(job: Job, folder: Path, tell: Tell) -> Proof | None:
    """Let the exported files and the trained model answer the same prompts; writes ``PROOF.md`` beside them.

    Args:
        job: What was exported.
        folder: The finished files, still under their temporary name.
        tell: Told of steps; may cancel.

    Returns:
        What it showed, also where it could not be run; None where a target has nothing to run.

    Raises:
        Cancelled: The user stopped it.
    """
    from engine.deliver.proof.run_proof import prove as run

    return run(job, folder, tell)
