"""The limits a container puts on CPU and memory (control groups, versions 1 and 2)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from engine.machine.mounts import PROC, read_mounts


class ContainerLimits:
    """Finds the control groups of this process once, then reads their limits cheaply.

    Args:
        proc: Where ``/proc`` is; the control group mounts are looked up in its mountinfo.
    """

    def __init__(self, proc: Path = PROC) -> None:
        paths = _own_groups(proc)
        self._memory: tuple[Path, ...] = ()
        self._cpu: tuple[Path, ...] = ()
        self._v2: tuple[Path, ...] = ()
        for mount in read_mounts(proc):
            if mount.filesystem == "cgroup2" and "" in paths:
                self._v2 = _levels(mount.point, mount.root, paths[""])
            elif mount.filesystem == "cgroup":
                for controller in ("memory", "cpu"):
                    if controller in mount.options and controller in paths:
                        levels = _levels(mount.point, mount.root, paths[controller])
                        if controller == "memory":
                            self._memory = levels
                        else:
                            self._cpu = levels

    def memory(self) -> tuple[int, int] | None:
        """The tightest memory limit as ``(limit, available)`` in bytes; None without a limit.

        Every level of the tree limits those below it, so the limit and the room left may come from
        different levels. File pages do not count as used: the kernel drops them before it kills anything.
        """
        found: list[tuple[int, int]] = []
        for level in self._v2:
            found += _room(level, "memory.max", "memory.current", ("active_file", "inactive_file"))
        for level in self._memory:
            found += _room(
                level,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                ("total_active_file", "total_inactive_file"),
            )
        if not found:
            return None
        return min(limit for limit, _ in found), min(room for _, room in found)

    def cpu_quota(self) -> float | None:
        """CPUs this process may use on average, such as 7.5; None without a limit."""
        quotas: list[float] = []
        for level in self._v2:
            words = _words(level / "cpu.max")
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
                quotas.append(int(words[0]) / int(words[1]))
        for level in self._cpu:
            quota, period = _number(level / "cpu.cfs_quota_us"), _number(level / "cpu.cfs_period_us")
            if quota is not None and period is not None and quota > 0 and period > 0:
                quotas.append(quota / period)
        return min(quotas, default=None)


def _own_groups(proc: Path) -> dict[str, str]:
    """Path of this process in each hierarchy; version 2 has the empty name."""
    try:
        text = (proc / "self/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    paths: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                paths[controller] = parts[2]
    return paths


def _levels(point: Path, root: str, path: str) -> tuple[Path, ...]:
    """The group's own folder and all above it, up to the mount point; only those that exist."""
    pure = PurePosixPath(path)
    if root != "/" and pure.is_relative_to(root):
        pure = PurePosixPath("/") / pure.relative_to(root)
    if ".." in pure.parts:
        # The group lies outside this container's view; only the mount point itself can be read.
        pure = PurePosixPath("/")
    relative = pure.relative_to("/") if pure.is_absolute() else pure
    folders = [point / relative, *(point / parent for parent in relative.parents)]
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def _room(level: Path, limit_name: str, usage_name: str, file_keys: tuple[str, ...]) -> list[tuple[int, int]]:
    limit = _number(level / limit_name)
    # Version 1 writes "no limit" as the largest page-aligned 64-bit number.
    if limit is None or limit >= 2**60:
        return []
    usage = _number(level / usage_name) or 0
    words = _words(level / "memory.stat")
    stat = dict(zip(words[::2], words[1::2], strict=False))
    files = sum(int(stat[key]) for key in file_keys if stat.get(key, "").isdigit())
    return [(limit, min(limit, max(0, limit - max(0, usage - files))))]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    words = _words(path)
    try:
        return int(words[0]) if words else None
    except ValueError:
        return None
