"""Finding the checkpoint to go on from."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

STATE = "trainer_state.json"
NAME = re.compile(r"checkpoint-(\d+)")


def step_of(folder: Path) -> int:
    """The step in ``checkpoint-120``; -1 for another name."""
    match = NAME.fullmatch(folder.name)
    return int(match[1]) if match else -1


def finished(checkpoints: Path) -> list[Path]:
    """The whole checkpoints, oldest first. Half-written ones have another name and never count."""
    if not checkpoints.is_dir():
        return []
    found = [path for path in checkpoints.iterdir() if step_of(path) >= 0 and _is_readable(path)]
    return sorted(found, key=step_of)


def sweep(checkpoints: Path) -> None:
    """Remove what an interrupted save left behind."""
    if checkpoints.is_dir():
        for path in checkpoints.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)


def _is_readable(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / STATE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
