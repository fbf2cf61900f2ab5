"""What of a run is safe elsewhere, and what would be lost with this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.config.loading import load
from engine.data.sources import is_hub_id
from engine.deliver.export.manifest import Export, gone_exports, list_exports, now
from engine.errors import UserError
from engine.run import atomic
from engine.run.checkpoints import finished, size_of, step_of
from engine.run.layout import RunDir

FILE = "after.json"
"""In the run's folder: what was done after training, such as which exports the user has at home."""

_SLACK = 2.0  # seconds: an export's time is told in whole ones
_SHIPPED = Path(__file__).parents[2] / "presets"
# Exports from which every other form can be made again.
_WHOLE = ("adapter", "merged")


@dataclass(frozen=True, slots=True)
class Kept:
    """One export and where else it is.

    Attributes:
        export: The export.
        home: When the user said that it is on their own computer; empty where not.
        pushed: Address of a repository that has it; empty where none has.
        current: It was made from the run's result as it is now.
        whole: All its files are there.
    """

    export: Export
    home: str
    pushed: str
    current: bool
    whole: bool

    @property
    def safe(self) -> bool:
        """It is somewhere else, too."""
        return bool(self.home or self.pushed)

    @property
    def words(self) -> str:
        """Where it is."""
        if self.pushed:
            return f"uploaded: {self.pushed}"
        return f"at home since {self.home[:10]}" if self.home else "only on this machine"


@dataclass(frozen=True, slots=True)
class Only:
    """Something that is only on this machine.

    Attributes:
        what: Its name in words.
        path: Where it is.
        bytes: Its size.
        matters: Losing it loses what was learnt; otherwise it is only a convenience.
    """

    what: str
    path: Path
    bytes: int
    matters: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A run after training.

    Attributes:
        exports: What was exported.
        only_here: What this machine alone has, the important things first.
        gone: Folders outside the run's where an export was written and is no more.
    """

    exports: tuple[Kept, ...]
    only_here: tuple[Only, ...]
    gone: tuple[Path, ...] = ()

    @property
    def safe(self) -> bool:
        """What was learnt is somewhere else, too."""
        return not any(one.matters for one in self.only_here)


def standing(run: RunDir) -> Standing:
    """Look at the run's exports, notes and files. Reads no weights."""
    state = read_state(run)
    made = list_exports(run)
    newest = _newest(run)
    pushes = [
        export for export in made if export.target == "hub" and export.extra.get("verdict") != "differs"
    ]
    kept = tuple(_kept(export, state, pushes, newest) for export in made if export.target != "hub")
    taken = _taken(state, newest, {fingerprint(export) for export in made})
    return Standing(kept, tuple(_only_here(run, kept, pushes, newest, taken)), tuple(gone_exports(run)))


def mark_home(run: RunDir, export: Export) -> None:
    """The user has checked that this export is on their computer.

    Raises:
        UserError: It cannot be noted.
    """
    state = read_state(run)
    mark = fingerprint(export)
    # What it was: it stays at home when it is deleted here.
    what = {"target": export.target, "trained_from": export.trained_from, "made_at": export.made_at}
    taken = _table(state, "taken") if _differs(export) else {**_table(state, "taken"), mark: what}
    _write(run, {**state, "home": {**_table(state, "home"), mark: now()}, "taken": taken})


def mark_done(run: RunDir, step: str) -> None:
    """Note a step after training, such as ``compare``; where it cannot be noted, it counts as not done."""
    state = read_state(run)
    try:
        _write(run, {**state, "done": {**_table(state, "done"), step: now()}})
    except UserError:
        return


def done(run: RunDir) -> dict[str, Any]:
    """Steps that were noted, with their time."""
    return _table(read_state(run), "done")


def read_state(run: RunDir) -> dict[str, Any]:
    """What was noted; empty where nothing was."""
    return atomic.read_json(run.path / FILE) or {}


def fingerprint(export: Export) -> str:
    """Tells this export from another one in the same place."""
    text = "\n".join(f"{file.sha256} {file.path}" for file in export.files)
    return hashlib.sha256(text.encode()).hexdigest()


def verdict_words(export: Export) -> str:
    """What the check of the answers showed, in a few words."""
    verdict = (export.proof or {}).get("verdict")
    told = {
        "same": "checked: same answers",
        "differs": "CHECK FAILED: differs",
        "not run": "not checked",
    }
    return told.get(str(verdict), "not checked")


def _kept(export: Export, state: dict[str, Any], pushes: Sequence[Export], newest: _Newest) -> Kept:
    home = _table(state, "home").get(fingerprint(export))
    url = next(
        (
            str(push.extra.get("url") or "")
            for push in pushes
            if push.extra.get("pushed") == export.target and push.trained_sha256 == export.trained_sha256
        ),
        "",
    )
    return Kept(export, str(home or ""), url, _current(export, newest), export.is_whole())


def _taken(state: dict[str, Any], newest: _Newest, here: set[str]) -> set[str]:
    """Forms of the newest state that the user has at home, although they are not here any more."""
    marks = {
        key: what
        for key, what in _table(state, "taken").items()
        if key not in here and isinstance(what, dict)
    }
    return {
        str(what.get("target"))
        for what in marks.values()
        if _is_of(str(what.get("trained_from")), str(what.get("made_at")), newest)
    }


def _only_here(
    run: RunDir, kept: Sequence[Kept], pushes: Sequence[Export], newest: _Newest, taken: set[str]
) -> list[Only]:
    found: list[Only] = []
    result = next((path for path in (run.adapter, run.model) if path.is_dir()), None)
    elsewhere = {one.export.target for one in kept if one.safe and one.current and not _differs(one.export)}
    elsewhere |= taken
    pushed = {str(push.extra.get("pushed")) for push in pushes if _current(push, newest)}
    elsewhere |= pushed
    complete = bool(elsewhere & set(_WHOLE))
    if result is not None and not complete:
        name = "The trained adapter" if result == run.adapter else "The trained model"
        if elsewhere:
            words = f"{name}: what you have elsewhere runs, but nothing else can be made of it, and it cannot be trained further"
            found.append(Only(words, result, size_of(result), False))
        else:
            found.append(Only(name, result, size_of(result), True))
    found += [
        Only(f"The export {one.export.folder.name}", one.export.folder, one.export.total_bytes, False)
        for one in kept
        if not one.safe
    ]
    best = run.checkpoints / "best"
    best_name = best.readlink().name if best.is_symlink() else ""
    saved = finished(run.checkpoints)
    for path in reversed(saved):
        matters = result is None and path == saved[-1] and not elsewhere
        if path.name == best_name:
            found.append(Only(f"The best checkpoint, of step {step_of(path)}", path, size_of(path), matters))
        elif matters:
            found.append(Only(f"The newest checkpoint, of step {step_of(path)}", path, size_of(path), True))
    found += _base(run, not elsewhere & {"merged", "gguf", "ollama"})
    found += _datasets(run)
    found.append(Only("Settings, curves and log of the run", run.path, _records(run), False))
    return sorted(found, key=lambda one: not one.matters)


def _base(run: RunDir, matters: bool) -> list[Only]:
    """The base model of an adapter, where it is a folder here: an adapter alone is of no use."""
    try:
        config = load(run.config)
    except UserError:
        return []
    path = Path(config.model.model_name_or_path).expanduser()
    if config.method.tuning != "lora" or not path.is_dir() or path.is_relative_to(_SHIPPED):
        return []
    return [Only(f"The base model {path.name}, without which no adapter runs", path, size_of(path), matters)]


def _datasets(run: RunDir) -> list[Only]:
    try:
        data = load(run.config).data
    except UserError:
        return []
    found = []
    for source in [*data.train, *(data.eval or [])]:
        path = Path(source.path.rpartition("#")[0] or source.path).expanduser()
        if is_hub_id(source.path) or path.is_relative_to(_SHIPPED) or not path.exists():
            continue
        found.append(
            Only(
                f"The dataset {path.name}",
                path,
                size_of(path) if path.is_dir() else path.stat().st_size,
                False,
            )
        )
    return found


def _records(run: RunDir) -> int:
    files = (run.config, run.events, run.log)
    return sum(path.stat().st_size for path in files if path.is_file())


def _differs(export: Export) -> bool:
    return (export.proof or {}).get("verdict") == "differs"


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest state of a run: its result, or without one its newest checkpoint.

    Attributes:
        name: As exports call what they were made from; empty where there is nothing yet.
        written: When the result's weights were last written; 0 for a checkpoint, which never changes.
    """

    name: str
    written: float = 0.0


def _newest(run: RunDir) -> _Newest:
    files = [path for folder in (run.adapter, run.model) for path in folder.glob("*.safetensors")]
    if run.adapter.is_dir() or run.model.is_dir():
        return _Newest("result", max((path.stat().st_mtime for path in files), default=0.0))
    saved = finished(run.checkpoints)
    return _Newest(saved[-1].name if saved else "")


def _current(export: Export, newest: _Newest) -> bool:
    """Made from the newest state, after that was last written."""
    return _is_of(export.trained_from, export.made_at, newest)


def _is_of(trained_from: str, made_at: str, newest: _Newest) -> bool:
    if trained_from != newest.name:
        return False
    try:
        made = datetime.fromisoformat(made_at).timestamp()
    except ValueError:
        return False
    return newest.written <= made + _SLACK


def _table(state: dict[str, Any], name: str) -> dict[str, Any]:
    found = state.get(name)
    return found if isinstance(found, dict) else {}


def _write(run: RunDir, state: dict[str, Any]) -> None:
    try:
        atomic.write_json(run.path / FILE, state)
    except OSError as error:
        raise UserError(
            f"This cannot be noted: {error.strerror}.",
            str(run.path / FILE),
            "Free some space on the disk, then try again.",
        ) from None
