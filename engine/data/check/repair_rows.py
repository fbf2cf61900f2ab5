"""Repair what is inside a row: texts, turns and roles. Words are never made up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.data.check.findings import Findings
from engine.data.check.plan import Plan
from engine.data.check.text_problems import CONTROL
from engine.data.conversation import CONTENT_KEYS, SPEAKER_KEYS, is_turns, role_in, role_of

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[\x1b]\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]|\x1b[P^_X][^\x1b]{0,4096}\x1b\\"
    r"|\x1b[ -/]*[0-~]?|[\x9b\x9d]"
)
_SPECIAL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DEEPEST = 20
_USUAL_ROLES = ("system", "user", "assistant", "tool", "human", "gpt")


def clean_text(text: str) -> tuple[str, list[str]]:
    """A text without what no model should learn, and what was removed: lines of ``repaired_row`` counts."""
    if _SPECIAL.search(text) is None:
        return text, []
    done: list[str] = []
    for pattern, words in (
        (_ESCAPES, "escape sequences removed"),
        (re.compile("\x00"), "null bytes removed"),
        (re.compile("[\u202a-\u202e\u2066-\u2069]"), "characters that reorder text removed"),
        (re.compile("[\ud800-\udfff]"), "half characters removed"),
        (CONTROL, "control characters removed"),
    ):
        cleaned = pattern.sub(lambda match: match[0] if match[0] == "\ufffd" else "", text)
        if cleaned != text:
            done.append(words)
            text = cleaned
    return text, done


def repaired_row(row: Mapping[str, Any], plan: Plan, line: int, changes: Findings) -> dict[str, Any]:
    """A row with everything repaired that can be.

    Args:
        row: The row as read.
        plan: How the dataset is read.
        line: Its line, for `changes`.
        changes: Told what was done.
    """
    done: dict[str, None] = {}
    new = _clean(dict(row), done, 0)
    column = plan.turns_column
    turns = new.get(column) if column else None
    if (
        column
        and isinstance(turns, list)
        and is_turns(turns)
        and all(isinstance(turn, dict) for turn in turns)
    ):
        new[column] = _merged(_without_empty([_with_role(turn, done) for turn in turns], done), done)
    for words in done:
        changes.add(words, line, "", words)
    return new if done else dict(row)


def _clean(value: Any, done: dict[str, None], depth: int) -> Any:
    if isinstance(value, str):
        text, words = clean_text(value)
        done.update(dict.fromkeys(words))
        return text
    if depth >= _DEEPEST:
        return value
    if isinstance(value, list):
        return [_clean(item, done, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key, done, depth + 1): _clean(item, done, depth + 1) for key, item in value.items()}
    return value


def _with_role(turn: dict[str, Any], done: dict[str, None]) -> dict[str, Any]:
    """Roles by their usual names; ShareGPT's human and gpt are usual too."""
    speaker = role_in(turn)
    role = role_of(speaker) if speaker is not None else None
    if role in (None, "call") or speaker in _USUAL_ROLES:
        return turn
    key = next(key for key in SPEAKER_KEYS if isinstance(turn.get(key), str))
    done["roles given their usual names"] = None
    return {
        **turn,
        key: {"user": "human", "assistant": "gpt"}.get(str(role), role) if key == "from" else role,
    }


def _without_empty(turns: list[dict[str, Any]], done: dict[str, None]) -> list[dict[str, Any]]:
    kept = [turn for turn in turns if not _is_empty(turn)]
    if len(kept) == len(turns) or not kept:
        return turns
    done["empty turns dropped"] = None
    return kept


def _is_empty(turn: Mapping[str, Any]) -> bool:
    if turn.get("tool_calls") or turn.get("function_call"):
        return False
    return all(
        turn.get(key) is None or (isinstance(turn[key], str) and not turn[key].strip())
        for key in CONTENT_KEYS
    )


def _merged(turns: list[dict[str, Any]], done: dict[str, None]) -> list[dict[str, Any]]:
    """Turns of the same speaker in a row as one, with a blank line between their words."""
    merged: list[dict[str, Any]] = []
    for turn in turns:
        before = merged[-1] if merged else None
        key = next((key for key in CONTENT_KEYS if isinstance(turn.get(key), str)), None)
        if (
            before is not None
            and key is not None
            and isinstance(before.get(key), str)
            and before.keys() == turn.keys()
            and _role(before) == _role(turn) in ("user", "assistant")
            and not any(name in turn for name in ("tool_calls", "function_call"))
        ):
            merged[-1] = {**before, key: f"{before[key]}\n\n{turn[key]}"}
            done["turns of the same speaker merged"] = None
        else:
            merged.append(turn)
    return merged


def _role(turn: Mapping[str, Any]) -> str | None:
    speaker = role_in(turn)
    return role_of(speaker) if speaker is not None else None
