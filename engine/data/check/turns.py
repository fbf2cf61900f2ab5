"""What is wrong with a list of turns, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from engine.data.conversation import CONTENT_KEYS, role_in, role_of
from engine.display import printable

Problem = tuple[str, str, str]
"""Kind of finding, where in the row, and the problem in words."""


@lru_cache(maxsize=4096)
def in_order(speakers: tuple[str, ...]) -> bool:
    """Perhaps a system message, then user and assistant in turns, with at least one answer."""
    roles = [role_of(speaker) for speaker in speakers]
    if roles and roles[0] == "system":
        del roles[0]
    return len(roles) >= 2 and all(
        role == ("user", "assistant")[number % 2] for number, role in enumerate(roles)
    )


def turn_problems(turns: Any, column: str) -> Iterator[Problem]:
    """Everything that is wrong with a conversation.

    Args:
        turns: What the column of turns holds.
        column: Its name.
    """
    column = printable(column, 40)
    if not isinstance(turns, list):
        yield (
            ("no turns", column, "there is no conversation")
            if turns is None
            else ("mixed types", column, f"{_kind(turns)} where a list of turns should be")
        )
        return
    if not turns:
        yield "no turns", column, "the list of turns is empty"
        return
    roles: list[str] = []
    for number, turn in enumerate(turns, 1):
        where = f"turn {number}"
        if not isinstance(turn, dict):
            yield "mixed types", where, f"the turn is {_kind(turn)}, not an object with role and content"
            continue
        speaker = role_in(turn)
        role = role_of(speaker) if speaker is not None else None
        if speaker is None:
            yield "missing field", where, "the turn has no role"
        elif role is None:
            yield "unknown role", where, f"the role is '{printable(speaker, 30)}'"
        else:
            roles.append("assistant" if role == "call" else role)
            if roles[-1] == "assistant" and (turn.get("weight") == 0 or turn.get("train") is False):
                yield "unlearnt turn", where, "the answer is marked as not to be learnt, but is learnt"
        yield from _content_problems(turn, where)
    if len(roles) == len(turns):
        yield from _order_problems(roles)


def _content_problems(turn: dict[str, Any], where: str) -> Iterator[Problem]:
    content = next((turn[key] for key in CONTENT_KEYS if turn.get(key) is not None), None)
    if (turn.get("tool_calls") or turn.get("function_call")) and not content:
        return
    if content is None:
        yield "missing field", where, "the turn has no content"
    elif isinstance(content, str):
        if not content.strip():
            yield "empty turn", where, "the turn is empty"
    elif not isinstance(content, list | dict | int | float):
        yield "mixed types", where, f"the content is {_kind(content)}, not text"


def _order_problems(roles: Sequence[str]) -> Iterator[Problem]:
    if "assistant" not in roles:
        yield "no assistant", "", "nobody answers, so there is nothing to learn"
        return
    if "system" in roles[1:]:
        yield (
            "role order",
            f"turn {roles.index('system', 1) + 1}",
            "a system message that is not the first turn",
        )
    spoken = roles[1:] if roles[0] == "system" else roles
    first = 1 + (roles[0] == "system")
    if spoken and spoken[0] not in ("user", "system"):
        yield "role order", f"turn {first}", f"it starts with the {spoken[0]}, not with the user"
    for number in range(1, len(spoken)):
        if spoken[number - 1] == spoken[number] not in ("tool", "system"):
            yield "role order", f"turn {first + number}", f"two {spoken[number]} turns in a row"
            return


def _kind(value: Any) -> str:
    """What a value is, in words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "empty (null)",
    }
    return names.get(type(value), "a number")
