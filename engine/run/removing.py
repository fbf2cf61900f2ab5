"""Deleting runs: first out of the list under another name, then from the disk, so that a crash leaves nothing half."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.display import gib
from engine.errors import UserError
from engine.run import lock
from engine.run.home import runs_home
from engine.run.layout import RunDir
from engine.run.state import is_live
from engine.run.sweeps import Sweep, list_sweeps

TRASH = ".trash-"


def size_of(path: Path) -> int:
    """Bytes that a folder takes on its disk; what cannot be read counts nothing."""
    total = 0
    folders = [str(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def size_words(num_bytes: int) -> str:
    """``2.3 GiB``, ``38 MiB``, ``less than 1 MiB``."""
    return gib(num_bytes) if num_bytes >= 2**20 else "less than 1 MiB"


def require_removable(run: RunDir) -> None:
    """Check that a run may be deleted.

    Raises:
        UserError: It is going on, it waits for its turn in a sweep that is going on, or its folder is a link.
    """
    if is_live(run):
        raise _going_on(run)
    if run.path.is_symlink():
        raise UserError(
            "The folder of this run is a link, and what it points at is not finetui's to delete.",
            f"{run.path} -> {os.readlink(run.path)}",
            "Delete that folder yourself, then the link.",
        )
    for sweep in list_sweeps():
        if any(entry.name == run.name and not entry.outcome for entry in sweep.entries) and sweep.is_live:
            raise UserError(
                f"The run is part of the sweep {sweep.name}, which is going on and has not come to its end with it.",
                str(run.path),
                f"Wait, or end the sweep first: finetui sweep {sweep.name} --stop",
            )


def remove(run: RunDir) -> None:
    """Delete a run with everything in its folder.

    Raises:
        UserError: It may not be deleted (`require_removable`), or the disk does not let it go.
    """
    require_removable(run)
    held = None
    try:
        if run.lock.exists():
            # Nobody may resume it between this look and the new name.
            held = lock.acquire(run.lock, patience=0.2)
        trash = run.path.with_name(f"{TRASH}{run.name}-{os.getpid()}-{time.time_ns()}")
        os.rename(run.path, trash)
    except lock.LockHeldError:
        raise _going_on(run) from None
    except FileNotFoundError:
        raise UserError("The run is gone already.", str(run.path), "List all with: finetui runs") from None
    except OSError as error:
        raise UserError(
            f"The run cannot be deleted: {error.strerror or error}.",
            str(run.path),
            "Check the permissions of that folder and of the one it is in.",
        ) from None
    finally:
        if held is not None:
            os.close(held)
    _delete(trash)


def remove_sweep(sweep: Sweep) -> None:
    """Delete what is left of a sweep when its runs are gone: its list and its log.

    Raises:
        UserError: It is going on, or the disk does not let it go.
    """
    if sweep.is_live:
        raise UserError(
            "This sweep is going on.", str(sweep.path), f"End it first: finetui sweep {sweep.name} --stop"
        )
    _delete(sweep.path)


def empty_trash() -> None:
    """Finish what a crash or a power cut interrupted; whatever cannot be deleted stays for the next time."""
    with contextlib.suppress(OSError):
        for path in runs_home().iterdir():
            if path.name.startswith(TRASH):
                shutil.rmtree(path, ignore_errors=True)


def removed_words(names: Sequence[str]) -> str:
    """``Deleted: a, b and 3 more.``"""
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Deleted: {shown}{more}."


def _going_on(run: RunDir) -> UserError:
    return UserError(
        "This run is going on, so it cannot be deleted.",
        run.name,
        f"Stop it first: finetui stop {run.name} --now",
    )


def _delete(path: Path) -> None:
    try:
        shutil.rmtree(path, onerror=_open_and_retry)
    except OSError as error:
        raise UserError(
            f"It is out of the list, but its files could not all be deleted: {error.strerror or error}.",
            str(path),
            "Delete this folder by hand, after mending its permissions.",
        ) from None


def _open_and_retry(function: Callable[..., Any], path: str, _: object) -> None:
    """A read-only folder is no reason to keep what the user wants to be rid of."""
    os.chmod(os.path.dirname(path), 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path)
    else:
        function(path)
