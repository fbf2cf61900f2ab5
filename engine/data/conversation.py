"""Bring a row of any shape into the one form training takes: ``{"messages": [...]}`` or ``{"text": ...}``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from engine.data.shapes import Shape, turns_in
from engine.display import printable

ROLES = {
    "user": "user", "human": "user", "prompter": "user", "customer": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool",
}  # fmt: skip
"""Names of speakers found in datasets, and the role each one stands for."""

_KEPT_KEYS = ("tool_calls", "tool_call_id", "name", "reasoning_content", "thinking")


class RowProblemError(Exception):
    """Why one row cannot be used: a short phrase such as ``empty answer``."""


def to_training_row(row: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """One row in the form training takes.

    Args:
        row: The row as read.
        shape: The shape of its dataset; its objective is ``sft``.

    Returns:
        ``{"messages": [{"role": ..., "content": ...}, ...]}``, or ``{"text": ...}`` for plain text.

    Raises:
        RowProblemError: The row cannot be used.
    """
    columns = shape.columns
    if shape.name == "text":
        text = _text(row.get(columns["text"]), "text")
        if not text.strip():
            raise RowProblemError("empty text")
        return {"text": text}
    messages = _turns(row.get(columns["turns"])) if "turns" in columns else _pair(row, columns)
    system = row.get(columns["system"]) if "system" in columns else None
    if system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": _text(system, "system message")})
    _check(messages)
    return {"messages": messages}


def _pair(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    question, answer = row.get(columns["question"]), row.get(columns["answer"])
    if isinstance(question, list) and question and isinstance(question[0], dict):
        # TRL's conversational form: the prompt is a conversation and the completion its last turns.
        tail = (
            _turns(answer)
            if isinstance(answer, list)
            else [{"role": "assistant", "content": _text(answer, "answer")}]
        )
        return _turns(question) + tail
    asked = _text(question, columns["question"])
    extra = row.get(columns["input"]) if "input" in columns else None
    if extra is not None and _text(extra, columns["input"]).strip():
        asked = f"{asked}\n\n{_text(extra, columns['input'])}"
    if not asked.strip():
        raise RowProblemError(f"empty {printable(columns['question'], 40)}")
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": _text(answer, columns["answer"])},
    ]


def _turns(value: Any) -> list[dict[str, Any]]:
    turns = turns_in(value)
    if turns is None:
        raise RowProblemError("no list of turns" if value is not None else "no conversation")
    messages = [_turn(turn, number) for number, turn in enumerate(turns, 1)]
    if not messages:
        raise RowProblemError("empty conversation")
    return messages


def _turn(turn: Any, number: int) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise RowProblemError(f"turn {number} is not an object with role and content")
    speaker = turn.get("role", turn.get("from"))
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        shown = "no role" if speaker is None else f"the unknown role '{printable(speaker, 30)}'"
        raise RowProblemError(f"turn {number} has {shown}")
    content = turn.get("content", turn.get("value"))
    kept = {key: turn[key] for key in _KEPT_KEYS if turn.get(key) is not None}
    if content is None and kept.get("tool_calls"):
        content = ""
    return {"role": role, "content": _text(content, f"turn {number}"), **kept}


def _text(value: Any, what: str) -> str:
    """The text in a cell: numbers become text, lists of text parts are joined."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise RowProblemError(f"{_named(what)} contains half a character (a lone surrogate)")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        raise RowProblemError(
            f"no {printable(what, 40)}" if not what.startswith("turn ") else f"{what} has no content"
        )
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        kinds = {str(part.get("type", "text")) for part in value}
        if kinds != {"text"}:
            other = printable(", ".join(sorted(kinds - {"text"})), 60)
            raise RowProblemError(f"{_named(what)} has parts that are not text ({other})")
        return "".join(_text(part.get("text"), what) for part in value)
    raise RowProblemError(f"{_named(what)} is not text")


def _named(what: str) -> str:
    return printable(what, 40) if what.startswith("turn ") else f"the {printable(what, 40)}"


def _check(messages: list[dict[str, Any]]) -> None:
    """The order of speakers that chat templates accept, and something to learn."""
    spoken = messages[1:] if messages[0]["role"] == "system" else messages
    if any(message["role"] == "system" for message in spoken):
        raise RowProblemError("a system message that is not the first turn")
    if not any(message["role"] == "assistant" for message in spoken):
        raise RowProblemError("no assistant turn, so nothing to learn")
    if spoken[0]["role"] != "user":
        raise RowProblemError(f"it starts with the {spoken[0]['role']}, not with the user")
    for before, after in pairwise(spoken):
        if before["role"] == after["role"] != "tool":
            raise RowProblemError(f"two {after['role']} turns in a row")
    for message in spoken:
        if (
            message["role"] == "assistant"
            and not message["content"].strip()
            and not message.get("tool_calls")
        ):
            raise RowProblemError("empty answer")
