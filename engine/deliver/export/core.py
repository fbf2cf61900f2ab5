"""One export from beginning to end: checked before, made in a hidden folder, proved, sealed, renamed. Runs in the worker process."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict, is_dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.deliver.export import manifest
from engine.deliver.export.checks import check, os_in_words
from engine.deliver.export.job import Cancelled, Job, Tell
from engine.deliver.export.places import remember
from engine.deliver.export.staging import staged
from engine.deliver.export.targets import find_target
from engine.display import printable
from engine.errors import UserError


def export(job: Job, tell: Tell) -> manifest.Export:
    """Make an export, and first the other one it is made from, where that is missing.

    Args:
        job: What is asked for.
        tell: Told of steps and bytes; may cancel.

    Raises:
        UserError: It is not possible, or failed. Nothing half-written is left, and the trained files are as they were.
        Cancelled: The user stopped it; the same holds.
    """
    target = find_target(job.target)
    check(job, target)
    needed = target.requires(job)
    if needed is not None and manifest.find_export(job, needed) is None:
        # Its own options only: what the repository is called means nothing to a merge.
        export(replace(job, target=needed, out=None), tell)
    noted = _Noting(tell)
    started = manifest.now()
    try:
        with staged(job.final, job.is_on("overwrite") or target.replaces) as into:
            try:
                target.make(job, into, noted)
                proof = prove(job, into, noted)
                _seal(job, into, started, noted, proof)
            except Cancelled:
                raise
            except Exception as error:
                # Looked at while the half-written files are there: afterwards the disk is no longer full.
                raise in_words(error, job.final, into) from error
    except OSError as error:
        raise in_words(error, job.final) from error
    try:
        remember(job.run, job.final)
    except OSError as error:
        tell.say(f"Where this export lies cannot be noted in the run's folder ({error.strerror}).")
    made = manifest.read(job.final)
    assert made is not None
    return made


def prove(job: Job, into: Path, tell: Tell) -> dict[str, Any] | None:
    """Let the exported files and the trained model answer the same questions.

    Returns:
        For export.json; None where there is no proof for this.
    """
    if job.options.get("proof") == "no" or find_spec("engine.deliver.proof") is None:
        return None
    from importlib import import_module

    made = import_module("engine.deliver.proof").prove(job, into, tell)
    if made is None:
        return None
    found: dict[str, Any] = asdict(made) if is_dataclass(made) and not isinstance(made, type) else dict(made)
    return found


def in_words(error: Exception, final: Path, into: Path | None = None) -> UserError:
    """What went wrong, for the user.

    Args:
        error: What was raised; a `UserError` comes back as it is.
        final: Where the export was to lie.
        into: The half-written folder, while it is there: libraries do not always say that a disk is full.

    Raises:
        Exception: The same, where it is none of the user's doing.
    """
    from engine.train.heal.disk import is_full
    from engine.train.heal.out_of_memory import is_out_of_memory

    if isinstance(error, UserError):
        return error
    if is_out_of_memory(error):
        return UserError(
            "The main memory (RAM) ran out while exporting.",
            printable(final, 300),
            "Close other programs, or export on a machine with more RAM. The trained files are untouched, nothing "
            "half-written is left.",
        )
    if into is not None and into.is_dir() and is_full(error, into):
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if isinstance(error, OSError):
        return os_in_words(error, final)
    raise error


def _seal(job: Job, into: Path, started: str, noted: _Noting, proof: dict[str, Any] | None) -> None:
    noted.step("Writing the checksums")
    total = sum(path.stat().st_size for path in manifest.files_of(into))
    manifest.write(job, into, started, noted.notes, proof, lambda done: noted.progress(done, total))


class _Noting:
    """Passes everything on, and keeps what was said for export.json."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.notes: list[str] = []

    def step(self, words: str) -> None:
        self._tell.step(words)

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        self._tell.progress(done_bytes, total_bytes)

    def say(self, words: str) -> None:
        self.notes.append(words)
        self._tell.say(words)

    def check(self) -> None:
        self._tell.check()
