"""One file from the Hub onto the disk: continued after a cut, checked by its hash, whole or not at all.

`huggingface_hub` throws away the part that has arrived when a download fails, and checks no hash; on a rented machine with
a shaky line both cost money. So the bytes are fetched here, through its session and into its cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

from engine.display import duration, printable
from engine.errors import UserError
from engine.hub import calls, settings
from engine.hub.listing import RepoFile
from engine.hub.task import Task
from engine.hub.trouble import DISK_FULL

CHUNK = 8 << 20  # bytes that are hashed at once
BACKOFF = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds; counted anew whenever bytes arrive
PART = ".finetui.incomplete"


def part_of(blob: Path) -> Path:
    """Where the bytes gather until the file is whole."""
    return blob.with_name(blob.name + PART)


def fetch(address: str, file: RepoFile, blob: Path, task: Task, arrived: Callable[[int], None]) -> None:
    """Download one file to its place among the blobs.

    Args:
        address: Where it is.
        file: Its size and hash.
        blob: Where it goes; appears only when it is whole and its hash is right.
        task: The caller; a cancelled download keeps what has arrived.
        arrived: Told how many bytes more are here, with a negative number when some had to be thrown away.

    Raises:
        Exception: For `engine.hub.trouble.explain`.
    """
    part = part_of(blob)
    part.parent.mkdir(parents=True, exist_ok=True)
    for last_try in (False, True):
        with _alone(part, task) as stream:
            if blob.exists():  # another process was faster
                part.unlink(missing_ok=True)
                arrived(file.size or 0)
                return
            try:
                _gather(address, file, stream, task, arrived)
            except OSError as error:
                if error.errno in DISK_FULL:
                    part.unlink(missing_ok=True)
                    raise OSError(error.errno, os.strerror(error.errno), str(part.parent)) from None
                raise
            if _hash(part, file, task) == file.etag:
                os.fsync(stream.fileno())
                os.replace(part, blob)
                return
            arrived(-os.fstat(stream.fileno()).st_size)
            part.unlink(missing_ok=True)
        if not last_try:
            task.say(f"{printable(file.path, 80)} arrived damaged; fetching it again.")
    raise UserError(
        f"{printable(file.path, 120)} arrived damaged twice: its checksum is not the one the Hub names.",
        settings.host(),
        "Try again later. A proxy, a virus scanner or a broken mirror on the way are the usual causes.",
    )


@contextlib.contextmanager
def _alone(part: Path, task: Task) -> Iterator[FileIO]:
    """The open part, for one process and thread at a time; the others wait and then find the file there."""
    while True:
        with open(part, "ab", buffering=0) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                task.sleep(0.2)
                continue
            except OSError:
                pass  # a file system without locks: the rename at the end is still atomic
            try:
                same = os.path.samestat(os.fstat(stream.fileno()), os.stat(part))
            except FileNotFoundError:
                same = False  # whoever had it before has finished it or thrown it away
            if same:
                yield stream
                return


def _gather(address: str, file: RepoFile, stream: FileIO, task: Task, arrived: Callable[[int], None]) -> None:
    """Append until the file has its size."""
    size = file.size or 0
    here = os.fstat(stream.fileno()).st_size
    if here > size:
        here = 0
        stream.truncate(0)
    arrived(here)
    failures = 0
    while here < size:
        before = here
        try:
            for chunk in _chunks(address, here):
                task.check()
                if chunk is None:  # the server starts from the beginning
                    arrived(-here)
                    here = 0
                    stream.truncate(0)
                    continue
                _write(stream, chunk[: size - here])
                here += len(chunk)
                arrived(len(chunk))
                if here > size:
                    return  # more than there should be; the hash will tell
            if here < size:
                raise calls.http().RemoteProtocolError("the answer ended early")
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            failures = failures + 1 if here <= before else 1
            pause = _pause(error, failures)
            if pause is None:
                raise
            task.say(f"{calls.reason(error)}; going on in {duration(max(1, pause))}.")
            task.sleep(pause)


def _write(stream: FileIO, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[stream.write(left) :]


def _pause(error: Exception, failures: int) -> float | None:
    """How long to wait after so many failures in a row without a byte; None when it is for good."""
    if failures > len(BACKOFF):
        return None
    pause = BACKOFF[failures - 1]
    if isinstance(error, calls.http().ConnectError | calls.http().ConnectTimeout):
        return pause  # the network was there a moment ago, so it may come back
    return calls.pause_before_retry(error, pause)


def _chunks(address: str, offset: int) -> Iterator[bytes | None]:
    """The bytes from an offset on; None first where the server ignores the offset."""
    from huggingface_hub import get_session, hf_raise_for_status

    wanted = {**calls.headers(), "accept-encoding": "identity"}
    if offset:
        wanted["range"] = f"bytes={offset}-"
    # The session leaves the token out when a redirect leads to another host.
    with get_session().stream(
        "GET", address, headers=wanted, timeout=calls.timeouts(), follow_redirects=True
    ) as response:
        if response.status_code == 416:
            yield None
            return
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        start = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
        if offset and (response.status_code != 206 or not start or int(start[1]) != offset):
            yield None
            if response.status_code == 206:
                return
        yield from response.iter_bytes()


def _hash(path: Path, file: RepoFile, task: Task) -> str:
    """The content's SHA-256, or for a small file git's SHA-1, whichever names it on the Hub."""
    size = path.stat().st_size
    digest = (
        hashlib.sha256() if len(file.etag) == 64 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    )
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            task.check()
    return digest.hexdigest()
