"""The mounted file systems of this process, from ``/proc/self/mountinfo``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo.

    Attributes:
        root: The folder of the file system that is mounted, ``/`` for all of it.
        point: Where it is mounted.
        filesystem: Type such as ``ext4``, ``overlay`` or ``fuse``.
        source: Device or server.
        options: Options of the file system, such as ``("rw", "memory")``.
    """

    root: str
    point: Path
    filesystem: str
    source: str
    options: tuple[str, ...]


def read_mounts(proc: Path = PROC) -> list[Mount]:
    """All mounts, in the order they were made; empty where the system has no mountinfo."""
    try:
        text = (proc / "self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if separator and len(left) >= 6 and len(right) >= 3:
            options = tuple(right[2].split(","))
            mounts.append(Mount(_text(left[3]), Path(_text(left[4])), right[0], _text(right[1]), options))
    return mounts


def mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """The mount a resolved path lies on: the longest mount point above it, the latest of equals."""
    best: Mount | None = None
    for mount in mounts:
        if PurePosixPath(path).is_relative_to(mount.point) and (
            best is None or len(mount.point.parts) >= len(best.point.parts)
        ):
            best = mount
    return best


def _text(field: str) -> str:
    # The kernel writes space, tab, newline and backslash in paths as three octal digits.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
