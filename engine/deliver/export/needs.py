"""Whether disk and memory will do, before anything is written."""

from __future__ import annotations

from pathlib import Path

from engine.deliver.export.job import Needs
from engine.deliver.export.staging import nearest
from engine.display import gib, printable
from engine.errors import UserError
from engine.machine.cgroup import ContainerLimits
from engine.machine.disks import find_disks
from engine.machine.host import memory
from engine.machine.model import Disk
from engine.machine.mounts import read_mounts

PROGRAM = 3 << 29  # bytes of a Python process that has loaded torch, transformers and PEFT
SLACK = 16 << 20  # bytes beside the weights: tokenizer, config, card


def check_needs(final: Path, needs: Needs) -> None:
    """Refuse an export that cannot fit.

    Raises:
        UserError: The disk or the memory is too small.
    """
    check_disk(final, needs.disk_bytes, needs.words)
    check_ram(needs.ram_bytes, needs.words)


def check_disk(final: Path, num_bytes: int, what: str) -> None:
    """Refuse what does not fit on a disk.

    Args:
        final: Where it will lie.
        num_bytes: What it will take.
        what: What takes it.

    Raises:
        UserError: Too little is free.
    """
    disk = disk_of(final)
    if disk is None or not disk.free_reliable or num_bytes <= disk.free:
        return
    raise UserError(
        f"The disk is too small: {what} takes {gib(num_bytes)}, and {gib(disk.free)} are free.",
        printable(nearest(final), 300),
        "Free some space, or write to a larger disk: --out DIR",
    )


def disk_of(path: Path) -> Disk | None:
    """The file system that a path is on, or will be on."""
    return next(iter(find_disks([("exports", nearest(path))], read_mounts())), None)


def check_ram(num_bytes: int, what: str) -> None:
    """Refuse what does not fit in main memory.

    Raises:
        UserError: Too little is free.
    """
    total, available, limited = memory(ContainerLimits())
    if num_bytes <= available:
        return
    raise UserError(
        f"The main memory (RAM) is too small: {what} needs about {gib(num_bytes)}, and {gib(available)} are free.",
        f"{gib(total)} {'allowed to this container' if limited else 'in this machine'}",
        "Close other programs, or do it on a machine with more RAM. The trained files are untouched.",
    )
