"""The Hugging Face Hub for screens: a worker process that is started with the first question and ends with its screen."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from engine.data.sources import Spec
from engine.display import printable
from engine.errors import UserError
from engine.hub.client import HubClient
from engine.hub.facts import RepoFacts
from engine.hub.names import MODELSCOPE
from engine.hub.task import Cancelled, Progress, Task
from tui.browsing import size_words

T = TypeVar("T")


class HubLink:
    """One screen's way to the Hub. `ask` is for worker threads, the rest for the screen."""

    def __init__(self) -> None:
        self._client: HubClient | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @property
    def client(self) -> HubClient:
        """The client; its calls block."""
        with self._lock:
            if self._client is None:
                self._client = HubClient()
            return self._client

    def task(self, tell: Callable[[Progress], None] = lambda progress: None) -> Task:
        """For a new call; the ones before it are given up."""
        self._stop.set()
        self._stop = stop = threading.Event()
        return Task(tell, stop.is_set)

    def close(self) -> None:
        """Give up what is asked and end the process, without waiting for it."""
        self._stop.set()
        client, self._client = self._client, None
        if client is not None:
            threading.Thread(target=client.close, daemon=True).start()


def offline_words() -> str:
    """Why the Hub is not asked, in one line; empty when it may be. Told by the environment alone, so at once."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE"):
            return f"Offline ({name} is set): only what is on this disk can be used."
    return ""


def count_words(number: int | None) -> str:
    """Such as ``412``, ``31 k`` or ``2.4 M``; empty when unknown."""
    if number is None:
        return ""
    if number < 1000:
        return str(number)
    return f"{number / 1000:.0f} k" if number < 1_000_000 else f"{number / 1e6:.1f} M"


def facts_words(facts: RepoFacts) -> list[str]:
    """What the Hub says of a repository, in sentences."""
    words = []
    if facts.download_bytes:
        whole = facts.missing_bytes >= facts.download_bytes
        here = "nothing of it is here yet" if whole else f"{size_words(facts.missing_bytes)} still to come"
        words.append(
            f"Download: {size_words(facts.download_bytes)}, {here}."
            if facts.missing_bytes
            else "It is on this disk."
        )
    if facts.kind == "model":
        words.append(
            {
                "safetensors": "Weights: safetensors, which cannot run code.",
                "pickle": "Weights: pickle, an old format that can run hidden code.",
            }.get(facts.weights or "", f"Weights: {printable(facts.weights or 'none', 30)}.")
        )
    words.append(f"Licence: {printable(facts.licence, 80)}." if facts.licence else "It names no licence.")
    if facts.gated and facts.access:
        words.append("Gated, and you are let in.")
    if facts.private:
        words.append("Private.")
    return [*words, *(printable(note, 300) for note in facts.notes)]


def obstacle_of(facts: RepoFacts) -> UserError | None:
    """Why it cannot be had or not be trained, safe to show; None when it can."""
    if facts.obstacle is None:
        return None
    told = {key: printable(facts.obstacle.get(key, ""), 500) for key in ("what", "where", "fix")}
    return UserError(**told)


def is_about(error: UserError, repo_id: str) -> bool:
    """Whether an error is about this repository, not about the way to the Hub."""
    return error.where == printable(repo_id, 120)


def refuse_unavailable(model: str, revision: str) -> None:
    """Before a run is made: refuse a model that the Hub does not give to this machine. Blocks; for worker threads.

    Where the Hub cannot be asked nothing is refused: the trainer says it, with what it tried.

    Raises:
        UserError: The model is gated, has no weights that can be trained, or does not exist.
    """
    from engine.models.folder import inspect_model

    if offline_words() or os.path.isdir(os.path.expanduser(model)) or model.lower().startswith(MODELSCOPE):
        return
    if inspect_model(model).folder is not None:
        return
    client = HubClient()
    try:
        facts = client.look(model, "model", revision)
    except UserError as error:
        if is_about(error, model):
            raise
        return
    finally:
        client.close()
    if (obstacle := obstacle_of(facts)) is not None:
        raise obstacle


def twin_of(repo_id: str, obstacle: UserError) -> str | None:
    """The copy without a gate that the obstacle's advice names; the Hub was asked whether it is there."""
    from engine.hub.twins import known_twins

    return next((twin for twin in known_twins(repo_id) if twin in obstacle.fix), None)


def given_up(ask: Callable[[], T]) -> T | None:
    """What a call says; None when its screen did not want to know any more."""
    try:
        return ask()
    except Cancelled:
        return None


def fetch_dataset(link: HubLink, spec: Spec, task: Task) -> bool:
    """Bring the files of a Hub dataset to this disk, where they are not here yet.

    Raises:
        UserError: It cannot be had.
        Cancelled: The screen gave up.
    """
    link.client.files(spec.path, spec.config, spec.split, spec.revision, task=task)
    return True
