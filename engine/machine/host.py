"""CPU, RAM and the container around them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from engine.display import printable
from engine.machine.cgroup import ContainerLimits
from engine.machine.model import Host
from engine.machine.mounts import PROC, Mount


def read_host(limits: ContainerLimits | None = None, proc: Path = PROC) -> Host:
    """CPU and RAM of this machine as this process may use them."""
    import psutil

    limits = limits or ContainerLimits(proc)
    quota = limits.cpu_quota()
    logical = psutil.cpu_count(logical=True) or 1
    total, available, limited = memory(limits)
    return Host(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu_name=cpu_name(proc),
        cores_physical=psutil.cpu_count(logical=False),
        cores_logical=logical,
        cores_usable=cores_usable(_affinity() or logical, quota),
        cpu_quota=quota,
        ram_total=total,
        ram_available=available,
        ram_limited=limited,
        swap_total=psutil.swap_memory().total,
        shm_total=_shm_total(),
        load_average=os.getloadavg() if hasattr(os, "getloadavg") else None,
    )


def memory(limits: ContainerLimits) -> tuple[int, int, bool]:
    """RAM as ``(total, available, limited by the container)`` in bytes."""
    import psutil

    ram = psutil.virtual_memory()
    bound = limits.memory()
    if bound is None or bound[0] >= ram.total:
        return ram.total, ram.available, False
    return bound[0], min(bound[1], ram.available), True


def cores_usable(affinity: int, quota: float | None) -> int:
    """Whole threads that can be kept busy: a quota of 7.65 CPUs is 7 threads, and never below 1."""
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def cpu_name(proc: Path = PROC) -> str:
    """Name of the processor; the machine type where ``/proc/cpuinfo`` does not tell (most ARM)."""
    try:
        with (proc / "cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "model name" and value.strip():
                    return printable(value.strip(), limit=80)
    except OSError:
        pass
    return printable(platform.processor() or platform.machine() or "unknown processor", limit=80)


def container_kind(environ: Mapping[str, str], mounts: list[Mount], root: Path = Path("/")) -> str | None:
    """Which kind of container this process runs in; None for a plain machine."""
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes"
    if "SINGULARITY_NAME" in environ or "APPTAINER_NAME" in environ:
        return "apptainer"
    if os.path.exists(root / ".dockerenv"):
        return "docker"
    if os.path.exists(root / "run/.containerenv"):
        return "podman"
    if environ.get("container"):
        return printable(environ["container"], limit=40)
    try:
        first = (root / "proc/1/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        first = ""
    for word, kind in (
        ("kubepods", "kubernetes"),
        ("docker", "docker"),
        ("containerd", "container"),
        ("/lxc", "lxc"),
    ):
        if word in first:
            return kind
    # A layered root file system is a container image even when nothing else says so.
    if any(mount.point == Path("/") and mount.filesystem == "overlay" for mount in mounts):
        return "container"
    return None


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _shm_total() -> int | None:
    try:
        facts = os.statvfs("/dev/shm")
    except (OSError, AttributeError):
        return None
    return facts.f_frsize * facts.f_blocks
