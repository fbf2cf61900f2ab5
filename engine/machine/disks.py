"""The file systems that matter for training: where runs, models and temporary files go."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.display import GIB
from engine.machine.model import Disk, Pod
from engine.machine.mounts import Mount, mount_of

# Where rented machines mount their large or lasting disk, and folders whose mounted children are such disks.
_VOLUMES = (
    "/workspace", "/runpod-volume", "/root/autodl-tmp", "/root/autodl-fs", "/lambda/nfs", "/notebooks",
    "/storage", "/kaggle/working", "/content/drive", "/teamspace", "/data", "/mnt", "/scratch",
)  # fmt: skip
_VOLUME_PARENTS = ("/mnt", "/media", "/volumes", "/lambda/nfs", "/home/ubuntu", "/teamspace/studios")
_MEMORY_FILESYSTEMS = ("tmpfs", "ramfs", "devtmpfs")
_NETWORK_FILESYSTEMS = (
    "nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "fuse", "fuse.mfs",
    "fuse.juicefs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.wekafs",
)  # fmt: skip
# No rented volume is this large: the server reports its whole cluster instead of the volume's quota.
_CLUSTER_SIZE = 100 * 1024 * GIB
_ANSWER_TIMEOUT = 0.5


def places(
    run_home: Path | None, environ: Mapping[str, str], home: Path, mounts: Sequence[Mount]
) -> list[tuple[str, Path]]:
    """What is kept in which folder, ``(use, folder)`` in the order shown; mounted volumes come last."""
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = Path(environ.get("HF_HOME") or cache / "huggingface")
    found = [] if run_home is None else [("runs", run_home)]
    found.append(("model cache", Path(environ.get("HF_HUB_CACHE") or hub / "hub")))
    found.append(("home folder", home))
    found.append(("temporary files", Path(environ.get("TMPDIR") or "/tmp")))
    found += [
        ("volume", mount.point)
        for mount in mounts
        if str(mount.point) in _VOLUMES or str(mount.point.parent) in _VOLUME_PARENTS
    ]
    return found


def find_disks(
    wanted: Sequence[tuple[str, Path]],
    mounts: Sequence[Mount],
    container: str | None = None,
    pod: Pod | None = None,
) -> tuple[Disk, ...]:
    """One ``Disk`` for each file system behind the wanted folders.

    Folders that do not exist yet stand for the nearest one above them. A server that does not answer
    within half a second is listed as such.

    Args:
        wanted: ``(use, folder)``, most important first.
        mounts: The mounted file systems.
        container: Kind of container, if any.
        pod: The provider, if any.
    """
    # A dead network volume blocks every call that touches it, so each folder is asked in its own thread.
    answers: list[_Answer] = [_Answer(use, folder) for use, folder in wanted]
    for answer in answers:
        answer.start()
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    for answer in answers:
        answer.join(max(0.0, deadline - time.monotonic()))
    disks: dict[object, Disk] = {}
    for answer in answers:
        if answer.is_alive():
            mount = mount_of(answer.folder, mounts)
            key: object = ("silent", mount.point if mount else answer.folder)
            found = _silent(answer, mount)
        elif answer.device is None or answer.resolved is None or answer.facts is None:
            continue
        else:
            mount = mount_of(answer.resolved, mounts)
            key = (answer.device, mount.point if mount else None)
            found = _disk(answer, answer.facts, answer.resolved, mount, container, pod)
        same = disks.get(key)
        if same is None:
            disks[key] = found
        elif answer.use != "volume":
            disks[key] = replace(same, uses=(*same.uses, answer.use))
    return tuple(disks.values())


class _Answer(threading.Thread):
    """Asks one folder's file system, in a thread that nobody has to wait for."""

    def __init__(self, use: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self.use = use
        self.folder = folder
        self.resolved: Path | None = None
        self.device: int | None = None
        self.facts: os.statvfs_result | None = None
        self.writable = False

    def run(self) -> None:
        try:
            existing = self.folder
            while not os.path.exists(existing) and existing != existing.parent:
                existing = existing.parent
            self.device = existing.stat().st_dev
            self.facts = os.statvfs(existing)
            self.writable = os.access(existing, os.W_OK)
            self.resolved = existing.resolve()
        except OSError:
            return


def _disk(
    answer: _Answer,
    facts: os.statvfs_result,
    resolved: Path,
    mount: Mount | None,
    container: str | None,
    pod: Pod | None,
) -> Disk:
    total, free = facts.f_frsize * facts.f_blocks, facts.f_frsize * facts.f_bavail
    persistent, note = persistence(resolved, mount, container, pod)
    reliable = total < _CLUSTER_SIZE
    if not reliable:
        note += " The size shown is that of the whole storage cluster; your own volume is smaller."
    return Disk(
        path=answer.folder,
        mount=mount.point if mount else Path(resolved.anchor),
        total=total,
        free=free,
        filesystem=mount.filesystem if mount else "unknown",
        persistent=persistent,
        note=note,
        uses=() if answer.use == "volume" else (answer.use,),
        writable=answer.writable,
        free_reliable=reliable,
    )


def _silent(answer: _Answer, mount: Mount | None) -> Disk:
    return Disk(
        path=answer.folder,
        mount=mount.point if mount else answer.folder,
        total=0,
        free=0,
        filesystem=mount.filesystem if mount else "unknown",
        persistent=None,
        note="Does not answer: the file server behind it may be down.",
        uses=() if answer.use == "volume" else (answer.use,),
        writable=False,
        free_reliable=False,
    )


def persistence(
    path: Path, mount: Mount | None, container: str | None, pod: Pod | None
) -> tuple[bool | None, str]:
    """Whether a folder outlives a stop of the machine, as ``(answer, reason in words)``."""
    if mount is None:
        return None, "It cannot be told whether this disk outlives the machine."
    if mount.filesystem in _MEMORY_FILESYSTEMS:
        return False, "Kept in memory: gone after a restart, and what is stored here uses up RAM."
    if pod is not None:
        for folder, words in pod.kept:
            if path.is_relative_to(folder):
                return True, words
    if mount.filesystem in _NETWORK_FILESYSTEMS:
        return True, "Network volume: kept by its server."
    if pod is not None:
        return pod.elsewhere_persistent, pod.elsewhere
    if container is not None and mount.point == Path("/"):
        return False, "Container disk: deleted together with the container."
    if container is not None:
        return True, "A folder of the host, mounted into the container: it outlives the container."
    return True, "Ordinary disk. On a rented machine it lasts only as long as the machine is rented."
