"""Where a run's exports lie that were written outside its folder, so that they are found again."""

from __future__ import annotations

from pathlib import Path

from engine.run import atomic
from engine.run.layout import RunDir

FILE = "exports.json"
"""In the run's folder: ``{"v": 1, "elsewhere": [folders]}``."""


def remember(run: RunDir, folder: Path) -> None:
    """Note an export; one inside the run's exports folder needs none.

    Raises:
        OSError: It cannot be written.
    """
    folder, known = folder.absolute(), elsewhere(run)
    if folder.parent != run.exports and folder not in known:
        atomic.write_json(run.path / FILE, {"v": 1, "elsewhere": [str(path) for path in (*known, folder)]})


def elsewhere(run: RunDir) -> list[Path]:
    """Folders that exports were written to, oldest first, whether they are still there or not."""
    found = (atomic.read_json(run.path / FILE) or {}).get("elsewhere")
    texts = found if isinstance(found, list) else []
    return [Path(text) for text in texts if isinstance(text, str) and text.startswith("/")]
