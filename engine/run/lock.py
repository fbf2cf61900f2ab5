"""The lock that says a run is alive: held by supervisor and trainer together, released by the kernel when both end."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path


class LockHeldError(Exception):
    """Somebody else holds the lock."""


def acquire(path: Path, patience: float = 2.0) -> int | None:
    """Take the lock.

    Args:
        path: The lock file.
        patience: Seconds to retry, because a reader that asks `is_held` takes it for an instant.

    Returns:
        The file descriptor that holds it, or None where the file system has no locks.

    Raises:
        LockHeldError: A live run holds it.
        OSError: The file cannot be created.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(fd)
                return None
            if time.monotonic() > deadline:
                os.close(fd)
                raise LockHeldError(str(path)) from error
            time.sleep(0.05)
        else:
            return fd


def is_held(path: Path) -> bool | None:
    """Whether a live process holds the lock; None where that cannot be told."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    finally:
        os.close(fd)
    return False
