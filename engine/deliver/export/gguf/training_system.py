"""The system prompt of the training data, where all rows have the same one: then the model expects it."""

from __future__ import annotations

from pathlib import Path

from engine.config.schema import RunConfig
from engine.data.dataset import peek
from engine.errors import UserError

ROWS = 200
"""How many rows of each dataset are looked at."""


def training_system(config: RunConfig) -> str:
    """The one system prompt of the first rows of all datasets; empty where there is none, or not one alone.

    Args:
        config: The run; datasets that are no longer on this disk are not fetched, and then nothing is known.
    """
    found: set[str] = set()
    for spec in config.data.train_specs():
        if not Path(spec.path).expanduser().exists():
            return ""
        try:
            examples = peek(spec, ROWS, config.method.objective).examples
        except UserError:
            return ""
        for _, row in examples:
            messages = row.get("messages") or row.get("prompt")
            first = messages[0] if isinstance(messages, list) and messages else None
            is_system = isinstance(first, dict) and first.get("role") == "system"
            found.add(str(first.get("content") or "") if is_system and isinstance(first, dict) else "")
        if len(found) > 1:
            return ""
    return found.pop() if found else ""
