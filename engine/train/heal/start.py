"""Where a run goes on from, and whether there is room for what it will save."""

from __future__ import annotations

from pathlib import Path

from engine.display import gib, printable
from engine.run import checkpoints
from engine.run.layout import RunDir
from engine.train.heal.disk import free_bytes
from engine.train.recorder import Recorder


def checkpoint_to_resume(run: RunDir, recorder: Recorder) -> Path | None:
    """The newest checkpoint whose files are what was written; damaged newer ones are put aside and named."""
    good, damaged = checkpoints.newest_good(run.checkpoints)
    for found in damaged:
        instead = (
            f"going on from that of step {checkpoints.step_of(good)}"
            if good
            else "starting from the beginning"
        )
        recorder.warning(
            f"The checkpoint of step {found.step} is damaged: {printable(found.why, 200)}. It is passed over, {instead}."
        )
        if not recorder.silent:
            checkpoints.put_aside(run.checkpoints, found.step)
    return good


def look_at_disk(run: RunDir, recorder: Recorder, checkpoint: int, result: int) -> None:
    """Warn when the disk will be full before the run is through.

    Args:
        run: Where it saves.
        recorder: Told.
        checkpoint: Bytes of one checkpoint.
        result: Bytes of the trained adapter or model.
    """
    free = free_bytes(run.path)
    # A new checkpoint is whole before an old one goes, so two are there at once.
    held = min(2, len(checkpoints.finished(run.checkpoints)))
    needed = (2 - held) * checkpoint + result
    if free < needed:
        recorder.warning(
            f"The disk will be full soon: {gib(free)} are free in {printable(run.path, 200)}, and this run still needs about "
            f"{gib(needed)}.",
            "Free some space meanwhile. When it is full, old checkpoints go first; then training waits for space.",
        )
