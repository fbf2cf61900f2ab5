"""The rows inside a JSON file that is one object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.data.reading import Progress
from engine.display import printable
from engine.errors import UserError

TRAIN_NAMES = ("train", "training", "train_sft", "train_prefs", "train_gen")
"""Names of the part to learn from, where a dataset comes in several."""
_ROW_LISTS = (
    "data",
    "rows",
    "examples",
    "instances",
    "items",
    "records",
    "samples",
    "dataset",
    "conversations",
)


def rows_inside(value: dict[str, Any], path: Path, progress: Progress, part: str | None) -> list[Any] | None:
    """The list of rows an object holds, in one of the ways that tools write; None where the object is a row itself.

    Args:
        value: The object.
        path: Its file, for messages.
        progress: Told what was found.
        part: Name of the list to take where there are several, such as ``test``.

    Raises:
        UserError: Several lists, and none or an unknown one was named.
    """
    if is_turns(value.get("messages")) or is_turns(value.get("conversations")):
        return None
    value = _telegram_chats(value)
    lists = {
        key: item
        for key, item in value.items()
        if isinstance(item, list) and item and isinstance(item[0], dict) and not is_turns(item)
    }
    if lists:
        return _unwrapped(_pick(lists, path, progress, part))
    texts = [item for item in value.values() if isinstance(item, list)]
    if texts and len(texts) == len(value) and len({len(item) for item in texts}) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*texts, strict=True)]
    inner = list(value.values())
    if len(inner) > 1 and all(isinstance(item, dict) and item.keys() == inner[0].keys() for item in inner):
        if all(not isinstance(cell, dict | list) for item in inner for cell in item.values()) and _is_index(
            inner[0]
        ):
            return [{key: item[index] for key, item in value.items()} for index in inner[0]]
        return inner
    if len(texts) == 1 and texts[0] and all(isinstance(item, str) for item in texts[0]) and len(value) <= 3:
        return list(texts[0])
    return None


def _telegram_chats(value: dict[str, Any]) -> dict[str, Any]:
    """The messages of all chats, where the object is Telegram's export of a whole account; else the object itself."""
    chats = value.get("chats")
    inside = chats.get("list") if isinstance(chats, dict) else None
    if not isinstance(inside, list):
        return value
    messages = [
        {**message, "chat_id": chat.get("id")}
        for chat in inside
        if isinstance(chat, dict) and isinstance(chat.get("messages"), list)
        for message in chat["messages"]
        if isinstance(message, dict)
    ]
    return {"messages": messages} if messages else value


def is_turns(value: Any) -> bool:
    """A list of the turns of one conversation, not of rows."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    first = value[0]
    return ("role" in first and ("content" in first or "tool_calls" in first)) or (
        "from" in first and "value" in first
    )


def _pick(lists: dict[str, list[Any]], path: Path, progress: Progress, part: str | None) -> list[Any]:
    if part is not None and part in lists:
        return lists[part]
    if len(lists) == 1:
        return next(iter(lists.values()))
    names = {str(key).lower(): key for key in lists}
    known = next((names[name] for name in (*TRAIN_NAMES, *_ROW_LISTS) if name in names), None)
    if part is None and known is not None:
        others = printable(", ".join(key for key in lists if key != known), 100)
        progress.note(
            f"The file holds several lists; the rows of {printable(known, 40)} are read, not {others}."
        )
        return lists[known]
    raise UserError(
        f"The file is one JSON object with {len(lists)} lists of rows inside: {printable(', '.join(lists), 200)}.",
        printable(path, 300),
        f"Name the one you want as split in run.yaml: {{path: {printable(path.name, 60)}, split: "
        f"{printable(next(iter(lists)), 40)}}}.",
    )


def _unwrapped(rows: list[Any]) -> list[Any]:
    """Without the wrapper that the Hub's dataset viewer puts around each row."""
    if all(isinstance(row, dict) and isinstance(row.get("row"), dict) and "row_idx" in row for row in rows):
        return [row["row"] for row in rows]
    return rows


def _is_index(item: dict[str, Any]) -> bool:
    """The keys are row numbers, as pandas writes a table by columns."""
    return all(str(key).isdigit() for key in item)
