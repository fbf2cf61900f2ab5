"""A full disk while saving: old checkpoints go first, then training waits until there is space."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.display import gib, printable
from engine.run import checkpoints
from engine.run.home import runs_home
from engine.train.heal.agree import strongest
from engine.train.recorder import Recorder

POLL = 2.0  # seconds between looks at the disk
REMIND = 600.0  # seconds between warnings while it stays full
RETRY = 30.0  # seconds after which a save is tried again though the disk claims to have had room: quotas do not show
MARGIN = 1 << 20  # bytes beside the tensors: settings, states, events
_WAIT, _AGAIN, _END, _GO = range(4)  # the strongest wish of any process wins
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEXTS = ("no space left on device", "disk quota exceeded", "os error 28")


class Room:
    """Makes room for what is saved, or waits for it.

    Args:
        recorder: Told what is dropped and why training waits.
        is_ending: Whether somebody wants the run to end, so that waiting makes no sense.
    """

    def __init__(self, recorder: Recorder, is_ending: Callable[[], bool]) -> None:
        self.recorder = recorder
        self.is_ending = is_ending

    def write(self, home: Path, what: str, needed: int, keep: set[str], save: Callable[[], None]) -> bool:
        """Save something whole, however long it takes to find room for it.

        Args:
            home: The folder with the checkpoints, on the file system that is written to.
            what: For messages, such as ``the checkpoint of step 30``.
            needed: Bytes it will take, about.
            keep: Names of checkpoints that must not be dropped, beside the newest.
            save: Writes it; must leave nothing behind when it fails.

        Returns:
            False when somebody ended the run before there was room.
        """
        retry_at = 0.0
        while self._make(home, what, needed, keep, retry_at):
            try:
                save()
            except Exception as error:
                # With several processes the others are in the middle of the save: only a new start gets them together.
                if not is_full(error, home) or int(os.environ.get("WORLD_SIZE", "1")) > 1:
                    raise
                needed = max(needed * 3 // 2, free_bytes(home) + MARGIN)
                retry_at = time.monotonic() + RETRY
            else:
                return True
        return False

    def _make(self, home: Path, what: str, needed: int, keep: set[str], retry_at: float) -> bool:
        """Drop old checkpoints or wait, until there is room or it is time to try again."""
        told = 0.0
        while True:
            free = free_bytes(home)
            verdict = _WAIT
            if not self.recorder.silent:
                if free >= needed or 0 < retry_at <= time.monotonic():
                    verdict = _GO
                elif (old := checkpoints.droppable(home, keep)) is not None:
                    self._drop(old)
                    retry_at = retry_at and time.monotonic()
                    verdict = _AGAIN
            if verdict == _WAIT and self.is_ending():
                verdict = _END
            verdict = strongest(verdict)
            if verdict == _GO and told:
                self.recorder.emit("change", why="disk full", words="There is space again: going on.")
            if verdict in (_GO, _END):
                return verdict == _GO
            if verdict == _WAIT:
                if not told or time.monotonic() - told > REMIND:
                    lost = self.recorder.lost_lines
                    self._warn(home, what, needed, free)
                    # A disk that is full to the last byte may have lost the warning, too: say it again soon.
                    told = time.monotonic() - (REMIND if self.recorder.lost_lines > lost else 0.0)
                time.sleep(POLL)

    def _drop(self, old: Path) -> None:
        from shutil import rmtree

        size = checkpoints.size_of(old)
        rmtree(old, ignore_errors=True)
        words = f"The disk is full, so {old.name} was removed to make room ({gib(size)})."
        self.recorder.emit("change", why="disk full", words=words)

    def _warn(self, home: Path, what: str, needed: int, free: int) -> None:
        others = largest_runs(home.parent)
        fix = (
            "Free some space and it goes on by itself"
            + (f"; other runs here: {others}" if others else "")
            + ". To end it instead: finetui stop"
        )
        self.recorder.warning(
            f"The disk is full: {what} needs about {gib(needed)}, and {gib(free)} are free in {printable(home, 200)}. "
            "Training waits; nothing is lost.",
            fix,
        )


def free_bytes(folder: Path) -> int:
    """Bytes an ordinary user may still write on a folder's file system."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@contextmanager
def saying_full(folder: Path) -> Iterator[None]:
    """Around writing, and inside of what cleans up: while the half-written files are there it can be told that the disk is full.

    Raises:
        OSError: With ``ENOSPC``, whatever a library made of it.
    """
    try:
        yield
    except Exception as error:
        if is_full(error, folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether something could not be written because the disk is full or a quota used up.

    Libraries hide the reason (PyTorch's archive writer says only that it failed), so in doubt a small file is tried.
    """
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno in _FULL:
            return True
        if any(text in str(chain).lower() for text in _TEXTS):
            return True
        chain = chain.__cause__ or chain.__context__
    trial = folder / f".room.{os.getpid()}"
    try:
        with open(trial, "wb") as handle:
            handle.write(bytes(MARGIN))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as reason:
        return reason.errno in _FULL
    finally:
        trial.unlink(missing_ok=True)
    return False


def largest_runs(own: Path, count: int = 3) -> str:
    """The other runs that take most space, with their sizes."""
    try:
        folders = [path for path in runs_home().iterdir() if path.is_dir() and path != own]
    except OSError:
        return ""
    sizes = sorted(((checkpoints.size_of(path), path.name) for path in folders), reverse=True)[:count]
    return ", ".join(f"{printable(name, 64)} ({gib(size)})" for size, name in sizes if size > MARGIN)
