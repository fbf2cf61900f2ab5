"""The datasets that were used last, and the folder they were looked for in."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from engine.data.sources import is_hub_id
from engine.errors import UserError
from engine.run.atomic import read_json, write_json
from engine.run.home import ensure_private, finetui_home

MOST = 6


def recent_datasets() -> list[str]:
    """Paths and Hub ids, the last one first; files that are gone are left out."""
    found = _stored().get("datasets")
    paths = [path for path in found if isinstance(path, str)] if isinstance(found, list) else []
    return [path for path in paths if is_hub_id(path) or _exists(path)][:MOST]


def remember_dataset(path: str) -> None:
    """Put a dataset first. A disk that cannot be written is no reason to stop."""
    file = Path(path).expanduser()
    kept = path if is_hub_id(path) else str(file.absolute())
    _store("datasets", [kept, *(other for other in recent_datasets() if other != kept)][:MOST])


def last_folder() -> Path:
    """Where the user was last when looking for files; at first the current folder."""
    folder = _stored().get("folder")
    if isinstance(folder, str) and os.path.isdir(folder):
        return Path(folder)
    return Path.cwd()


def remember_folder(folder: Path) -> None:
    """Keep where the user is."""
    _store("folder", str(folder.absolute()))


def _store(key: str, value: object) -> None:
    with contextlib.suppress(OSError, ValueError, UserError):  # ValueError: a name that is not UTF-8
        ensure_private(finetui_home())
        write_json(_file(), {**_stored(), key: value})


def _stored() -> dict[str, object]:
    try:
        return read_json(_file()) or {}
    except OSError:
        return {}


def _exists(path: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(path))
    except ValueError:  # a null byte in a damaged file
        return False


def _file() -> Path:
    return finetui_home() / "recent.json"
