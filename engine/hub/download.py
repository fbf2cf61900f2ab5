"""Downloads into the Hub's cache: progress, room on the disk, several files at once, everything checked."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from engine.display import gib, printable
from engine.errors import UserError
from engine.hub import cache, settings, transfer
from engine.hub.facts import look_closely
from engine.hub.listing import Listing, RepoFile, url, with_sizes
from engine.hub.model_files import tokenizer_files as choose_tokenizer_files
from engine.hub.names import parse
from engine.hub.task import Cancelled, Progress, Task
from engine.hub.trouble import DISK_FULL, explain, offline

AT_ONCE = 4  # files
INTERVAL = 0.5  # seconds between two reports
WINDOW = 10.0  # seconds over which the speed is taken
LARGEST = 50_000_000_000  # bytes; the Hub gives larger files by its own protocol (Xet) only
RESERVE = 0.01  # of the download, left free on the disk


def download(repo_id: str, revision: str = "main", task: Task | None = None) -> Path:
    """A model from the Hub: the folder with config, tokenizer and safetensors, ready to load without the network.

    What the Hub shows now is taken where it can be asked; else what an earlier download left.

    Args:
        repo_id: ``owner/name``, or ``modelscope:owner/name``.
        revision: Branch, tag or commit.
        task: Told of bytes, speed and time left; may cancel, which keeps what has arrived.

    Returns:
        A folder inside the cache.

    Raises:
        UserError: It cannot be had, cannot be trained, does not fit on the disk, or the network failed for good.
        Cancelled: The caller asked to stop.
    """
    name = parse(repo_id)
    task = replace(task or Task(), repo_id=name.id)
    if name.place == "modelscope":
        from engine.hub import modelscope

        return modelscope.download(name.id, revision, task)
    pinned = cache.COMMIT.fullmatch(revision) and cache.whole_model(name.id, revision)
    if pinned:  # a commit never changes, so there is nothing to ask
        return pinned
    try:
        looked = look_closely(name.id, "model", revision, task)
        looked.facts.check()
    except UserError as error:
        here = cache.whole_model(name.id, revision)
        if here is None:
            raise (offline(name.id) if settings.is_offline() else error) from None
        if not settings.is_offline():
            task.say(f"{error.what} Using the copy from an earlier download.")
        return here
    return fetch_all(looked.listing, looked.files, task)


def tokenizer_files(repo_id: str, revision: str = "main", task: Task | None = None) -> Path:
    """The folder with a model's tokenizer, chat template and config.json; a few megabytes, no weights.

    Raises:
        UserError: As `download`.
    """
    name = parse(repo_id)
    task = replace(task or Task(), repo_id=name.id)
    if name.place == "modelscope":
        from engine.hub import modelscope

        return modelscope.download(name.id, revision, task, weights=False)
    try:
        looked = look_closely(name.id, "model", revision, task)
        if not looked.facts.access:
            looked.facts.check()
    except UserError as error:
        commit = cache.commit_of(name.id, "model", revision)
        here = cache.snapshot(name.id, "model", commit) if commit else None
        if here is None or not any((here / file).is_file() for file in cache.TOKENIZERS):
            raise (offline(name.id) if settings.is_offline() else error) from None
        return here
    return fetch_all(looked.listing, choose_tokenizer_files(looked.listing.files), task)


def fetch_all(listing: Listing, files: Sequence[RepoFile], task: Task) -> Path:
    """Download files of one commit, those that are not here yet.

    Returns:
        The folder that shows them under their names.

    Raises:
        UserError: No room, no access, no network.
        Cancelled: The caller asked to stop.
    """
    folder = cache.snapshot(listing.repo_id, listing.kind, listing.commit)
    try:
        missing = with_sizes(listing, [file for file in files if not (folder / file.path).exists()], task)
        if missing:
            _check_room(listing, missing)
            _fetch(listing, missing, task)
        with (
            contextlib.nullcontext() if missing else contextlib.suppress(OSError)
        ):  # a cache may be read-only
            cache.set_commit(listing.repo_id, listing.kind, listing.revision, listing.commit)
    except (UserError, Cancelled):
        raise
    except Exception as error:
        raise explain(error, listing.repo_id, listing.kind, listing.revision) from None
    return folder


def place(listing: Listing, file: RepoFile, task: Task, meter: Meter | None = None) -> Path:
    """One file in its place in the snapshot, downloaded where it is not here."""
    name = cache.snapshot(listing.repo_id, listing.kind, listing.commit) / file.path
    if not name.exists():
        content = cache.blob(listing.repo_id, listing.kind, file.etag)
        if (file.size or 0) > LARGEST and not content.exists():
            return _by_the_library(listing, file, meter)
        if not content.exists():
            arrived = meter.arrived if meter else lambda count: None
            transfer.fetch(url(listing, file.path), file, content, task, arrived)
        elif meter:
            meter.arrived(file.size or 0)
        cache.show(content, name)
    return name


def _by_the_library(listing: Listing, file: RepoFile, meter: Meter | None) -> Path:
    """A file too large for plain HTTP, through the Hub's Xet protocol."""
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        listing.repo_id,
        file.path,
        repo_type=listing.kind,
        revision=listing.commit,
        cache_dir=settings.cache_folder(),
    )
    if meter:
        meter.arrived(file.size or 0)
    return Path(path)


class Meter:
    """Adds up what all files of a download have received, and tells it now and then."""

    def __init__(self, task: Task, total: int) -> None:
        self._task, self._total = task, total
        self._done = 0
        self._lock = threading.Lock()
        self._told = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def arrived(self, count: int) -> None:
        """So many bytes more (or fewer, when some were thrown away)."""
        with self._lock:
            now = time.monotonic()
            self._done += count
            if not self._recent or now - self._recent[-1][0] >= 0.1:
                self._recent.append((now, self._done))
            while len(self._recent) > 2 and now - self._recent[0][0] > WINDOW:
                self._recent.popleft()
            if now - self._told >= INTERVAL or self._done >= self._total:
                self._told = now
                self._task.progress(self.progress())

    def say(self, progress: Progress) -> None:
        """Pass on words of one file together with the numbers of all."""
        with self._lock:
            self._task.progress(replace(self.progress(), words=progress.words))

    def progress(self) -> Progress:
        """As it stands."""
        speed = None
        if len(self._recent) > 1:
            (start, before), (now, done) = self._recent[0], self._recent[-1]
            speed = (done - before) / (now - start) if now - start > 0.2 and done > before else None
        left = max(0, self._total - self._done)
        seconds = left / speed if speed else None
        return Progress(self._task.repo_id, max(0, self._done), self._total, speed, seconds)


def _fetch(listing: Listing, files: Sequence[RepoFile], task: Task) -> None:
    meter = Meter(task, sum(file.size or 0 for file in files))
    failed = threading.Event()
    own = Task(meter.say, lambda: failed.is_set() or task.cancelled(), task.repo_id)
    # Small files first: what is wrong with a model shows before its gigabytes come.
    ordered = sorted(files, key=lambda file: file.size or 0)
    with ThreadPoolExecutor(AT_ONCE, "hub-download") as pool:
        jobs = [pool.submit(place, listing, file, own, meter) for file in ordered]
        wait(jobs, return_when=FIRST_EXCEPTION)
        failed.set()
        for job in jobs:
            job.cancel()
    errors = [error for job in jobs if not job.cancelled() and (error := job.exception()) is not None]
    real = [error for error in errors if not isinstance(error, Cancelled)]
    full = next((e for e in real if isinstance(e, OSError) and e.errno in DISK_FULL), None)
    if full is not None:  # what else depends on this disk (the run's own log) needs the room
        for file in files:
            transfer.part_of(cache.blob(listing.repo_id, listing.kind, file.etag)).unlink(missing_ok=True)
        raise full
    if real:
        raise real[0]
    if errors:
        raise errors[0]


def _check_room(listing: Listing, files: Sequence[RepoFile]) -> None:
    """Raises a `UserError` when the disk cannot hold what is still to come."""
    need = 0
    for file in {file.etag: file for file in files}.values():
        content = cache.blob(listing.repo_id, listing.kind, file.etag)
        if not content.exists():
            part = transfer.part_of(content)
            need += max(0, (file.size or 0) - (part.stat().st_size if part.exists() else 0))
    folder = settings.cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if need * (1 + RESERVE) > free:
        raise UserError(
            f"The download needs {gib(need)}, and only {gib(free)} are free where it would go.",
            printable(folder, 300),
            "Free some space, or set HF_HOME to a folder on a larger disk.",
        )


def local_model(name: str, revision: str = "main") -> Path:
    """Where a model's files lie: a folder as given, or the copy of a Hub model, downloaded only if it is not here.

    Raises:
        UserError: As `download`.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    repo = parse(name)
    here = cache.whole_model(repo.id, revision) if repo.place == "hub" else None
    return here or download(name, revision)
