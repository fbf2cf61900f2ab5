"""What a Hub call tells while it works, and how it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.display import duration, gib, printable


class Cancelled(Exception):
    """The caller asked to stop. What has arrived so far is kept for the next try."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is.

    Attributes:
        repo_id: What is downloaded.
        done: Bytes that are here, those from earlier tries included.
        total: Bytes in all.
        bytes_per_second: Over the last seconds; None before that is known.
        seconds_left: At that speed; None when unknown.
        words: A sentence when something is unusual, such as a retry; else empty.
    """

    repo_id: str
    done: int = 0
    total: int = 0
    bytes_per_second: float | None = None
    seconds_left: float | None = None
    words: str = ""

    def line(self) -> str:
        """Such as ``Downloading Qwen/Qwen3-8B: 3.1 of 15.3 GiB, 84 MiB/s, about 2:28 left``."""
        text = f"Downloading {printable(self.repo_id, 100)}: {gib(self.done)} of {gib(self.total)}"
        if self.bytes_per_second:
            text += f", {gib(self.bytes_per_second)}/s"
        if self.seconds_left is not None:
            text += f", about {duration(self.seconds_left)} left"
        return f"{text}. {self.words}" if self.words else text


def _ignore(progress: Progress) -> None: ...


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Task:
    """The caller's side of a Hub call.

    Attributes:
        progress: Told of progress, at most twice a second, possibly from another thread.
        cancelled: Asked often; True ends the call with `Cancelled`.
        repo_id: What the words of `say` are about.
    """

    progress: Callable[[Progress], None] = _ignore
    cancelled: Callable[[], bool] = _never
    repo_id: str = ""

    def check(self) -> None:
        """Raises `Cancelled` when the caller asked to stop."""
        if self.cancelled():
            raise Cancelled

    def say(self, words: str) -> None:
        """Tell something unusual."""
        self.progress(Progress(self.repo_id, words=words))

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the caller wants."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.1))
