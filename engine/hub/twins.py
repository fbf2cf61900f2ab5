"""The same weights under another name, where the original is gated."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import presets
from engine.hub import calls

MOST = 2


def known_twins(repo_id: str) -> tuple[str, ...]:
    """Re-uploads that ``presets/twins.json`` knows, best first; upper and lower case do not matter."""
    return _table().get(repo_id.lower(), ())


def available_twins(repo_id: str) -> tuple[str, ...]:
    """Those of them that the Hub serves now to everybody; none when it cannot be asked."""
    found: list[str] = []
    for twin in known_twins(repo_id)[:MOST]:
        try:
            told = calls.get_json(f"/api/models/{twin}", hurry=True)
        except Exception:
            continue  # an offer more or less: the gate itself is what the user hears of
        if isinstance(told, dict) and not told.get("gated") and not told.get("private"):
            found.append(twin)
    return tuple(found)


@cache
def _table() -> dict[str, tuple[str, ...]]:
    text = Path(presets.__path__[0], "twins.json").read_text(encoding="utf-8")
    return {name.lower(): tuple(twins) for name, twins in json.loads(text)["twins"].items()}
