"""Requests from viewers to a running trainer: one file each, dropped by rename, taken at a step boundary."""

from __future__ import annotations

import contextlib
import time

from engine.run import atomic
from engine.run.layout import RunDir

STOPS = ("pause", "stop-and-save", "stop-now")
"""Requests that end the trainer, the stronger ones last."""
REQUESTS = ("checkpoint", "evaluate", *STOPS)


def request(run: RunDir, what: str) -> None:
    """Ask the trainer for something; asking twice is asking once.

    Raises:
        ValueError: Not one of `REQUESTS`.
        OSError: The run directory cannot be written.
    """
    if what not in REQUESTS:
        raise ValueError(what)
    run.control.mkdir(mode=0o700, exist_ok=True)
    atomic.write_json(run.control / what, {"t": time.time()})


def take(run: RunDir) -> set[str]:
    """Remove and return the requests that wait."""
    found: set[str] = set()
    for what in REQUESTS:
        with contextlib.suppress(OSError):
            (run.control / what).unlink()
            found.add(what)
    return found


def is_requested(run: RunDir, what: str) -> bool:
    """Whether a request waits, without taking it."""
    return (run.control / what).exists()
