"""Sweeps: several runs that differ in some settings, one after the other. Their folder, and what they are doing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.run import atomic, identity, lock
from engine.run.home import ensure_private, finetui_home, runs_home
from engine.run.launch import run_detached
from engine.run.layout import RunDir, check_name
from engine.run.state import read_state

FAILED = ("failed", "died")  # outcomes of runs that may be tried again
LOCKED = 3  # exit code of the starter when another process works on the sweep


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of a sweep.

    Attributes:
        name: Of the run.
        settings: What is different in it, as on the command line.
        num_processes: That train it together.
        env: Variables it needs, such as its card.
        outcome: finished, stopped, failed, died, or loser; empty as long as it is to be run.
        words: How it ended, in a sentence.
    """

    name: str
    settings: dict[str, str]
    num_processes: int = 1
    env: dict[str, str] = field(default_factory=dict)
    outcome: str = ""
    words: str = ""

    @property
    def run(self) -> RunDir:
        return RunDir(runs_home() / self.name)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is in a sweep's ``sweep.json``.

    Attributes:
        name: Of the sweep.
        entries: Its runs, in the order in which they are run.
        stop_losers: Whether runs that fall behind are ended early.
        measure: What they are judged by, a field of evaluation events.
        higher_is_better: Of the measure.
    """

    name: str
    entries: tuple[Entry, ...]
    stop_losers: bool = False
    measure: str = "eval_loss"
    higher_is_better: bool = False

    @property
    def path(self) -> Path:
        return sweeps_home() / self.name

    @property
    def is_live(self) -> bool:
        """Whether its process is at work."""
        held = lock.is_held(self.path / "lock")
        if held is None:
            return identity.is_alive(identity.read(self.path / "process.json", "queue"))
        return held

    @property
    def is_complete(self) -> bool:
        """Whether none of its runs is left to do."""
        return all(entry.outcome for entry in self.entries)

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked it to end."""
        return (self.path / "cancel").exists()

    @property
    def words(self) -> str:
        """``2 of 6 runs done, going on``."""
        done = sum(bool(entry.outcome) for entry in self.entries)
        failed = sum(entry.outcome in FAILED for entry in self.entries)
        how = (
            f"complete; {failed} failed: try again with finetui sweep {self.name} --resume"
            if self.is_complete and failed
            else "complete"
            if self.is_complete
            else "going on"
            if self.is_live
            else f"ended early; go on with: finetui sweep {self.name} --resume"
        )
        return f"{done} of {len(self.entries)} runs done, {how}"

    def with_outcome(self, name: str, outcome: str, words: str) -> Sweep:
        """The sweep after a run has ended."""
        return replace(
            self,
            entries=tuple(
                replace(entry, outcome=outcome, words=words) if entry.name == name else entry
                for entry in self.entries
            ),
        )

    def without_failures(self) -> Sweep:
        """The sweep with its runs that failed or died to be gone on with."""
        return replace(
            self,
            entries=tuple(
                replace(entry, outcome="", words="") if entry.outcome in FAILED else entry
                for entry in self.entries
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        runs = [
            {"name": one.name, "settings": one.settings, "outcome": one.outcome, "words": one.words}
            for one in self.entries
        ]
        return {
            "name": self.name,
            "words": self.words,
            "live": self.is_live,
            "complete": self.is_complete,
            "runs": runs,
        }


def sweeps_home() -> Path:
    """The folder that holds one folder per sweep."""
    return finetui_home() / "sweeps"


def write(sweep: Sweep) -> None:
    """Keep what is known of a sweep.

    Raises:
        OSError: The folder cannot be written.
    """
    atomic.write_json(sweep.path / "sweep.json", asdict(sweep))


def read(path: Path) -> Sweep | None:
    """A sweep's state from its folder; None when it is damaged."""
    stored = atomic.read_json(path / "sweep.json")
    try:
        if stored is None:
            return None
        entries = tuple(Entry(**entry) for entry in stored.pop("entries"))
        for entry in entries:
            check_name(entry.name)
        return Sweep(**{**stored, "name": path.name, "entries": entries})
    except (KeyError, TypeError, UserError):
        return None


def list_sweeps() -> list[Sweep]:
    """Every sweep, newest first."""
    try:
        folders = sorted(sweeps_home().iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []
    return [sweep for folder in folders if (sweep := read(folder)) is not None]


def find_sweep(name: str) -> Sweep:
    """The sweep of that name.

    Raises:
        UserError: There is none.
    """
    found = read(sweeps_home() / check_name(name))
    if found is None:
        near = difflib.get_close_matches(name, [sweep.name for sweep in list_sweeps()], 1, 0.5)
        raise UserError(
            "There is no sweep of this name.",
            str(sweeps_home() / name),
            f"Did you mean {near[0]}?" if near else "List runs and sweeps with: finetui runs",
        )
    return found


def create(name: str) -> Path:
    """Make the folder of a new sweep.

    Raises:
        UserError: The name is taken or not possible, or the folder cannot be written.
    """
    ensure_private(sweeps_home())
    path = sweeps_home() / check_name(name)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        raise UserError(
            "A sweep of this name exists already.",
            str(path),
            f"Choose another name with --name, or look at that one: finetui sweep {name}",
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from None
    return path


def start(sweep: Sweep) -> None:
    """Keep a sweep and start the process that works through it, detached; returns once that holds the sweep.

    Raises:
        UserError: Somebody works on it already, or its folder cannot be written.
    """
    try:
        if not sweep.is_live:
            (sweep.path / "cancel").unlink(missing_ok=True)
            write(sweep)
        started = run_detached("engine.run.sweep_queue", sweep.path, sweep.path / "log.txt")
    except OSError as error:
        raise cannot_write(sweep.path, error) from None
    if started == LOCKED:
        raise UserError(
            "This sweep is going on already.", str(sweep.path), f"Watch it with: finetui sweep {sweep.name}"
        )
    if started != 0:
        raise UserError(
            "The process of the sweep could not start.",
            str(sweep.path / "log.txt"),
            "Read the last lines of that file.",
        )


def cancel(sweep: Sweep) -> None:
    """Ask a sweep to end: the run that is going on saves a checkpoint and stops, the others do not begin.

    Raises:
        UserError: Its folder cannot be written.
    """
    try:
        atomic.write_json(sweep.path / "cancel", {})
    except OSError as error:
        raise cannot_write(sweep.path, error) from None


def current(sweep: Sweep) -> Entry | None:
    """The run that is going on."""
    return next((entry for entry in sweep.entries if not entry.outcome and read_state(entry.run).live), None)


def cannot_write(path: Path, error: OSError) -> UserError:
    """What to tell when a sweep's folder cannot be written."""
    return UserError(
        f"The folder of the sweep cannot be written: {error.strerror or error}.",
        str(path),
        "Free some space, or choose another place: FINETUI_HOME=/path/to/folder finetui ...",
    )


def names_of(names: Sequence[str]) -> list[str]:
    """Names of runs, with every sweep replaced by its runs; a run goes before a sweep of the same name."""
    found: list[str] = []
    for name in names:
        check_name(name)
        sweep = None if (runs_home() / name).is_dir() else read(sweeps_home() / name)
        found += [entry.name for entry in sweep.entries] if sweep else [name]
    return list(dict.fromkeys(found))
