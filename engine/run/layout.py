"""Names and places inside a run directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.run.home import ensure_private, runs_home

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class RunDir:
    """The files of one run; nothing here reads or writes them."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "run.yaml"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def launch(self) -> Path:
        return self.path / "launch.json"

    @property
    def process(self) -> Path:
        return self.path / "process.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def exit(self) -> Path:
        return self.path / "exit.json"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The trained LoRA adapter."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """The trained model of a run that trained the weights themselves."""
        return self.path / "model"

    @property
    def exports(self) -> Path:
        return self.path / "exports"


def check_name(name: str) -> str:
    """A run name that is safe as a folder name.

    Raises:
        UserError: It is empty, too long, hidden, or has characters outside letters, digits, ``.``, ``_``, ``-``.
    """
    if not NAME.fullmatch(name):
        from engine.display import printable

        raise UserError(
            "This run name cannot be used.",
            f"run name {printable(name, 80)!r}",
            "Use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit, for example support-bot-1.",
        )
    return name


def create(name: str, numbered: bool = False) -> RunDir:
    """Make a new run directory, mode 0700.

    Args:
        name: Its name.
        numbered: When the name is taken, add ``-2``, ``-3`` ... instead of refusing.

    Raises:
        UserError: The name is invalid or taken, or the folder cannot be written.
    """
    check_name(name)
    home = runs_home()
    ensure_private(home)
    number = 1
    while True:
        candidate = name if number == 1 else f"{name[:58]}-{number}"
        run = RunDir(home / candidate)
        try:
            run.path.mkdir(mode=0o700)
        except FileExistsError:
            if not numbered:
                raise UserError(
                    "A run of this name exists already.",
                    str(run.path),
                    f"Choose another name with --name, or continue that one: finetui resume {name}",
                ) from None
            number += 1
            continue
        except OSError as error:
            raise UserError(
                f"The run folder cannot be created: {error.strerror}.",
                str(run.path),
                "Free some space, or choose another place: FINETUI_HOME=/path/to/folder finetui ...",
            ) from error
        for folder in (run.control, run.checkpoints, run.exports):
            folder.mkdir(mode=0o700)
        return run
