"""Model and data come from the Hub before they are read, with bytes and time left for whoever watches."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from engine.config.schema import RunConfig, Source
from engine.data.sources import is_hub_id
from engine.display import printable
from engine.hub import cache, datasets, pin, settings
from engine.hub.download import download
from engine.hub.names import parse
from engine.hub.task import Progress, Task
from engine.run.layout import RunDir
from engine.train.recorder import Recorder

INTERVAL = 2.0  # seconds between two events
TEXTS = ("adapter_config.json", "README.md", "tokenizer_config.json", "config.json")


def fetch_model(run: RunDir, config: RunConfig, recorder: Recorder) -> RunConfig:
    """Bring a Hub model onto this disk; nothing happens for a folder.

    Returns:
        The configuration with the commit in place of the branch: the one this run began with, also after a resume.

    Raises:
        UserError: It cannot be had; what has arrived is kept for the next try.
    """
    name = config.model.model_name_or_path
    if Path(name).expanduser().is_dir():
        return config
    repo = parse(name)
    revision = pin.remembered(run.path, name, config.model.model_revision)
    place = "ModelScope" if repo.place == "modelscope" else settings.host()
    recorder.phase("downloading", f"Getting the model {printable(repo.id, 120)} from {place}.")
    folder = download(name, revision, Task(Teller(recorder)))
    commit = folder.name
    recorder.emit(
        "phase",
        phase="downloaded",
        words=f"The model is on this disk, checked by its checksums: {printable(folder, 300)}",
        path=str(folder),
        commit=commit,
    )
    if not cache.COMMIT.fullmatch(commit):
        return config
    if not recorder.silent:
        pin.remember(run.path, name, commit)
    pinned = config.model.model_copy(update={"model_revision": commit})
    return config.model_copy(update={"model": pinned})


def fetch_data(run: RunDir, config: RunConfig, recorder: Recorder) -> RunConfig:
    """Bring Hub datasets onto this disk; nothing happens for files and folders.

    Returns:
        The configuration with commits in place of branches, so that a resumed run reads the same rows.

    Raises:
        UserError: One cannot be had; what has arrived is kept for the next try.
    """

    def fetched(sources: list[Source] | None) -> list[Source] | None:
        return sources and [_fetched(run, source, recorder) for source in sources]

    data = config.data.model_copy(
        update={"train": fetched(config.data.train), "eval": fetched(config.data.eval)}
    )
    return config.model_copy(update={"data": data})


def _fetched(run: RunDir, source: Source, recorder: Recorder) -> Source:
    if not is_hub_id(source.path):
        return source
    repo = parse(source.path)
    key = f"datasets/{repo.id}"
    branch = source.revision or "main"
    revision = pin.remembered(run.path, key, branch)
    recorder.phase("downloading", f"Getting the dataset {printable(repo.id, 120)} from {settings.host()}.")
    paths = datasets.files(source.path, source.config, source.split, revision, task=Task(Teller(recorder)))
    recorder.emit("phase", phase="downloaded", words=f"The dataset is on this disk: {len(paths)} files.")
    commit = cache.commit_of(repo.id, "dataset", revision)
    # The Hub's Parquet copy is on a branch of its own, with other commits.
    if repo.place != "hub" or commit is None or commit not in paths[0].parts:
        return source
    if not recorder.silent:
        pin.remember(run.path, key, commit)
    return source.model_copy(update={"revision": commit})


class Teller:
    """Turns progress into events, a few of them."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._told = 0.0
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        with self._lock:
            now = time.monotonic()
            if progress.words and not progress.total:
                self._recorder.warning(progress.words)
                return
            if now - self._told < INTERVAL and progress.done < progress.total:
                return
            self._told = now
            self._recorder.emit(
                "progress",
                words=progress.line(),
                done_bytes=progress.done,
                total_bytes=progress.total,
                bytes_per_second=progress.bytes_per_second and round(progress.bytes_per_second),
                seconds_left=progress.seconds_left and round(progress.seconds_left, 1),
            )


def name_base(saved: Path, config: RunConfig) -> None:
    """Write the Hub's name of the base model into a saved result, where libraries wrote its folder on this disk."""
    name = config.model.model_name_or_path
    if Path(name).expanduser().is_dir():
        return
    from engine.hub.download import local_model

    folder = str(local_model(name, config.model.model_revision))
    for path in (saved / text for text in TEXTS):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            if folder in text:
                path.write_text(text.replace(folder, parse(name).id), encoding="utf-8")
