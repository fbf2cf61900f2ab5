"""What an export is: the request, what it needs, and how it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine.deliver.source import Trained
from engine.errors import UserError
from engine.run.checkpoints import step_of
from engine.run.layout import RunDir


class Cancelled(Exception):
    """The user asked to stop. Nothing under a final name has changed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One export.

    Attributes:
        run: The run whose result it is.
        trained: The files that are exported.
        target: Name of the target, such as ``merged``.
        quants: Number formats of a GGUF target, such as ``Q4_K_M``; empty where the target has none.
        out: Folder to write, which must not exist or be empty; None for the run's own exports folder.
        options: Settings of the target by name: ``dtype``, ``repo``, ``public``, ``push_as``, ``overwrite``, ...
    """

    run: RunDir
    trained: Trained
    target: str
    quants: tuple[str, ...] = ()
    out: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def which(self) -> str:
        """Which state of the run: ``result``, or ``checkpoint-40``."""
        return self.trained.path.name if step_of(self.trained.path) >= 0 else "result"

    @property
    def name(self) -> str:
        """The export's name inside the run, such as ``merged`` or ``merged-checkpoint-40``."""
        return self.target if self.which == "result" else f"{self.target}-{self.which}"

    @property
    def final(self) -> Path:
        """Where the finished export lies."""
        return self.out if self.out is not None else self.run.exports / self.name

    def is_on(self, option: str) -> bool:
        """Whether a yes-or-no option is switched on."""
        return self.options.get(option) == "yes"


class Tell(Protocol):
    """How a target tells what it does. Every call raises `Cancelled` where the user wants to stop."""

    def step(self, words: str) -> None:
        """A new part of the work begins, such as ``Merging shard 2 of 5``."""

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """How far the current step is. May be called as often as one likes."""

    def say(self, words: str) -> None:
        """Something the user should read; it is also kept as a note in export.json."""

    def check(self) -> None:
        """Only look whether the user wants to stop."""


def wants_to_stop(tell: Tell) -> bool:
    """Whether the user wants to stop, as a question, for code that does not know of `Cancelled`."""
    try:
        tell.check()
    except Cancelled:
        return True
    return False


@dataclass(frozen=True, slots=True)
class Needs:
    """What an export takes.

    Attributes:
        disk_bytes: Written on the disk of the final folder, at the fullest moment.
        ram_bytes: Main memory at the fullest moment.
        words: What takes it, such as ``the merged model in bfloat16``.
    """

    disk_bytes: int
    ram_bytes: int
    words: str


@dataclass(frozen=True, slots=True)
class Target:
    """One form a trained model can be exported in.

    Attributes:
        name: As in ``--to``.
        title: For people, such as ``Merged model``.
        help: One sentence on what it is for.
        needs: What it will take; may read files, never the network, and never loads torch.
        refuse: Why it is not possible; None where it is. Called before anything is written.
        make: Writes the export into the folder it is given and nowhere else.
        requires: Name of another target whose export must exist first (of the same trained files); None for none.
        options: Names of the options it understands beside ``overwrite``.
        replaces: A new one takes the place of the old without being asked, as with the record of an upload.
    """

    name: str
    title: str
    help: str
    needs: Callable[[Job], Needs]
    refuse: Callable[[Job], UserError | None]
    make: Callable[[Job, Path, Tell], None]
    requires: Callable[[Job], str | None] = lambda job: None
    options: tuple[str, ...] = ()
    replaces: bool = False
