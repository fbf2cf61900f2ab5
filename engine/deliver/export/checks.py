"""Everything that can be told before an export begins. Loads no torch, so screens and verbs may call it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from engine.deliver.export.job import Job, Target
from engine.deliver.export.needs import check_needs
from engine.deliver.export.staging import check_final, nearest
from engine.deliver.export.targets import find_target
from engine.display import printable
from engine.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def check(job: Job, target: Target | None = None) -> None:
    """Everything that can be told before anything is written.

    Raises:
        UserError: Why it is not possible.
    """
    target = target or find_target(job.target)
    if job.trained.is_base:
        raise UserError(
            "The base model is what its makers published; there is nothing of this run in it.",
            job.run.name,
            "Export the result (leave --checkpoint out), or a checkpoint: --checkpoint N",
        )
    refusal = target.refuse(job)
    if refusal is not None:
        raise refusal
    try:
        check_final(job.final, job.is_on("overwrite") or target.replaces)
    except OSError as error:
        raise os_in_words(error, job.final) from error
    check_needs(job.final, target.needs(job))


def os_in_words(error: OSError, final: Path) -> UserError:
    """What a file system complains about, for the user.

    Args:
        error: What was raised.
        final: Where the export was to lie.
    """
    if error.errno in _FULL:
        return UserError(
            "The disk filled up while exporting.",
            printable(nearest(final.parent), 300),
            "Free some space and try again, or write to a larger disk: --out DIR. The trained files are untouched, nothing "
            "half-written is left.",
        )
    if error.errno in _FORBIDDEN:
        return UserError(
            f"The export cannot be written: {os.strerror(error.errno or errno.EACCES)}.",
            printable(error.filename or final, 300),
            "Choose a folder that you may write to: --out DIR. The trained files are untouched.",
        )
    return UserError(
        f"A file cannot be read or written: {printable(error.strerror or error, 200)}.",
        printable(error.filename or final, 300),
        "Check the disk, then try again. The trained files are untouched, nothing half-written is left.",
    )
