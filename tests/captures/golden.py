"""The kept pictures, and what is different now."""

from __future__ import annotations

import difflib
from pathlib import Path

GOLDEN = Path(__file__).with_name("golden")


def difference(name: str, text: str) -> str:
    """What is different from the kept picture; empty when nothing is."""
    file = GOLDEN / f"{name}.txt"
    kept = file.read_text(encoding="utf-8") if file.exists() else ""
    if kept == text:
        return ""
    return "".join(
        difflib.unified_diff(
            kept.splitlines(True), text.splitlines(True), f"kept/{file.name}", f"now/{file.name}"
        )
    )


def keep(name: str, text: str) -> None:
    """Keep a picture."""
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{name}.txt").write_text(text, encoding="utf-8")
