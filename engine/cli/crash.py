"""Keeping the traceback of a bug out of the terminal but not losing it."""

from __future__ import annotations

import tempfile
import time
import traceback
from pathlib import Path

from engine.run.home import finetui_home


def write_crash() -> Path:
    """Append the current exception to crash.log and return its path."""
    text = f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n{traceback.format_exc()}\n"
    for folder in (finetui_home(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / "crash.log"
            with open(path, "a", encoding="utf-8") as handle:
                handle.write(text)
        except OSError:
            continue
        return path
    return Path("nowhere: no folder could be written")
