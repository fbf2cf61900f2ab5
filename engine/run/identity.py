"""Which process is which: a pid alone may have been given to somebody else."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from engine.run import atomic


def boot_id() -> str:
    """The kernel's id of this boot; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); None when gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def describe(pid: int) -> dict[str, Any]:
    """What identifies a live process beyond its pid."""
    return {"pid": pid, "start": start_ticks(pid), "boot": boot_id(), "host": socket.gethostname()}


def is_alive(identity: dict[str, Any] | None) -> bool:
    """Whether the described process still runs, here and in this boot."""
    if not identity or not isinstance(identity.get("pid"), int):
        return False
    if identity.get("boot") != boot_id() or identity.get("host") != socket.gethostname():
        return False
    ticks = start_ticks(identity["pid"])
    return ticks is not None and ticks == identity.get("start")


def signal_process(identity: dict[str, Any] | None, signum: int) -> bool:
    """Send a signal, only if it is still that very process. Returns whether it was sent."""
    if not is_alive(identity):
        return False
    assert identity is not None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(identity["pid"], signum)
        return True
    return False


def read(path: Path, role: str) -> dict[str, Any] | None:
    """The identity of ``supervisor`` or ``trainer`` from a process.json."""
    value = (atomic.read_json(path) or {}).get(role)
    return value if isinstance(value, dict) else None
