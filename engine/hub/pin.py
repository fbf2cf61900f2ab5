"""Which commit of a Hub model a run began with, so that resuming, chatting and exporting use the same weights."""

from __future__ import annotations

from pathlib import Path

from engine.hub.cache import COMMIT
from engine.run import atomic

FILE = "hub.json"


def remember(run_path: Path, name: str, commit: str) -> None:
    """Write down the commit of a model."""
    known = atomic.read_json(run_path / FILE) or {}
    atomic.write_json(run_path / FILE, {**known, name: commit})


def remembered(run_path: Path, name: str, revision: str) -> str:
    """The commit the run began with; the given branch where there is none."""
    commit = (atomic.read_json(run_path / FILE) or {}).get(name)
    return commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else revision
