"""Lists of turns: OpenAI's ``messages`` (role, content), ShareGPT's ``conversations`` (from, value), and their relatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import parsed
from engine.data.columns import (
    CHOSENS,
    CONVERSATIONS,
    IMAGES,
    PROMPTS,
    REJECTEDS,
    SYSTEMS,
    TOOLS,
    Mapped,
    Sample,
)
from engine.data.conversation import conversation, is_pairs, is_turns, role_in, role_of
from engine.data.forms import Conversation, Form
from engine.data.shapes.base import Candidate, Shape, cell, optional_columns

_ELSEWHERE = {*PROMPTS, *CHOSENS, *REJECTEDS, "completion"} - set(CONVERSATIONS)


def _detect_style(sharegpt: bool) -> Any:
    def detect(sample: Sample) -> Iterator[Candidate]:
        named = [sample.columns[name] for name in (*CONVERSATIONS, "data") if name in sample.columns]
        others = [
            column
            for name, column in list(sample.columns.items())[:200]
            if column not in named and name not in _ELSEWHERE
        ]
        for column in [*named, *others]:
            usual = column in named
            if not sample.holds(column, _fits if usual else _fits_anywhere, 0.3):
                continue
            if sharegpt != sample.holds(column, _is_sharegpt):
                continue
            used = {"messages": column}
            used |= optional_columns(sample, used, system=SYSTEMS, tools=TOOLS, images=IMAGES)
            yield Candidate(used, 0.98 if usual else 0.9, f"The column {column} holds lists of turns.")
            return

    return detect


def _fits(value: Any) -> bool:
    return is_pairs(value) or _fits_anywhere(value)


def _fits_anywhere(value: Any) -> bool:
    if is_turns(value):
        turns = value if isinstance(value, list) else []
        return not turns or any(role_of(role_in(turn) or "") for turn in turns if isinstance(turn, dict))
    return is_pairs(value) and isinstance(value[0], dict)


def _is_sharegpt(value: Any) -> bool:
    value = parsed(value)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "from" in value[0]


def _normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    made = conversation(
        row.get(mapping["messages"]) if mapping["messages"] in row else cell(row, mapping, "messages"),
        cell(row, mapping, "system"),
        cell(row, mapping, "tools"),
        cell(row, mapping, "images"),
    )
    return [made]


SHAPES = tuple(
    Shape(
        name,
        f"conversations ({keys})",
        Conversation,
        ("messages",),
        _detect_style(name == "sharegpt"),
        _normalise,
        ("system", "tools", "images"),
    )
    for name, keys in (("messages", "role, content"), ("sharegpt", "from, value"))
)
