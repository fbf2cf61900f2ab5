"""Exports appear whole or not at all: written in a hidden folder beside the final one, then renamed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.deliver.export import manifest
from engine.display import printable
from engine.errors import UserError
from engine.run import atomic

SUFFIX = ".exporting"


def check_final(final: Path, overwrite: bool) -> None:
    """Refuse a place that must not be written.

    Args:
        final: Where the export is to lie.
        overwrite: The user allows to replace an earlier export; nothing else is ever replaced.

    Raises:
        UserError: Something is there, or nothing can be written there.
    """
    _recover(final)
    where = printable(final, 300)
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise UserError(
            "There is a file where the export should go.", where, "Choose another folder: --out DIR"
        )
    if _held(final):
        export = manifest.read(final)
        if export is None:
            raise UserError(
                "The folder holds files that are no export of finetui, so it is left alone.",
                where,
                "Choose a folder that is empty or does not exist: --out DIR",
            )
        if not overwrite:
            raise UserError(
                f"This export exists already (made {export.made_at[:16].replace('T', ' ')} UTC).",
                where,
                "Replace it with --overwrite, or choose another folder: --out DIR",
            )
        known = {file.path for file in export.files}
        names = [path.relative_to(final) for path in manifest.files_of(final)]
        strange = [name for name in names if name.parts[0] != SUFFIX and name.as_posix() not in known]
        if strange:
            raise UserError(
                f"The folder also holds {printable(strange[0], 100)!r}, which is not part of the export; "
                "replacing it would delete that.",
                where,
                "Move it away first, or choose another folder: --out DIR",
            )
    place = nearest(final if _is_inside(final) else final.parent)
    if not os.access(place, os.W_OK | os.X_OK) or _is_read_only(place):
        raise UserError(
            "The export cannot be written there: the folder is read-only or belongs to somebody else.",
            printable(place, 300),
            "Choose a folder that you may write to: --out DIR",
        )


@contextmanager
def staged(final: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden folder to write an export into; at the end of the block it gets its final name.

    It is removed when the block fails. What a killed export left behind is removed by the next one to the same place.

    Raises:
        UserError: As `check_final`, or another export writes to the same place at this moment.
        OSError: The folder cannot be made, or the disk is full.
    """
    check_final(final, overwrite)
    temporary = final / SUFFIX if _is_inside(final) else final.with_name(f".{final.name}{SUFFIX}")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    fd = _own(temporary)
    try:
        for left in temporary.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield temporary
        check_final(final, overwrite)
        _publish(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(fd)


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _is_inside(final: Path) -> bool:
    """Whether the folder itself must stay (a mount point, or its parent cannot be written), so that we write inside it."""
    return final.is_dir() and (os.path.ismount(final) or not os.access(final.parent, os.W_OK | os.X_OK))


def _own(temporary: Path) -> int:
    """Make the folder ours until the returned descriptor is closed; a process that dies gives it up by itself."""
    while True:
        with suppress(FileExistsError):
            temporary.mkdir(mode=0o700)
        fd = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise UserError(
                "Another export writes to the same place right now.",
                printable(temporary.parent, 300),
                "Wait until it is done, or choose another folder: --out DIR",
            ) from None
        except OSError:
            pass  # a file system without locks
        try:
            if os.path.samestat(os.fstat(fd), os.stat(temporary)):
                return fd
        except FileNotFoundError:
            pass  # whoever had it before us has just finished
        os.close(fd)


def _publish(temporary: Path, final: Path) -> None:
    if not _is_inside(final):
        if final.is_dir() and not _held(final):
            final.rmdir()
        atomic.publish(temporary, final)
        return
    # The folder itself cannot be renamed, so its parts are; export.json goes first and comes last: without it nothing counts.
    atomic.sync_tree(temporary)
    (final / manifest.FILE).unlink(missing_ok=True)
    for old in [path for path in final.iterdir() if path != temporary]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    names = sorted((path.name for path in temporary.iterdir()), key=lambda name: name == manifest.FILE)
    for name in names:
        os.rename(temporary / name, final / name)


def _recover(final: Path) -> None:
    """Replacing was interrupted between two renames: the old export gets its name back, or goes if the new one stands."""
    old = final.with_name(f".{final.name}.old")
    if old.is_dir():
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, final)


def _held(final: Path) -> list[Path]:
    """What lies in a folder, but for what an export that is still being made keeps there."""
    return [path for path in final.iterdir() if path.name != SUFFIX] if final.is_dir() else []


def _is_read_only(place: Path) -> bool:
    return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
