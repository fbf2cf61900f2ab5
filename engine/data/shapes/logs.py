"""One message a row: chats of messengers (Slack, Discord, WhatsApp, Telegram) and trees of messages (OpenAssistant)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from engine.data.cells import RowProblemError, text_of
from engine.data.columns import Mapped, Sample
from engine.data.conversation import check_order, role_of
from engine.data.forms import Conversation, Form, Message
from engine.data.reading import Damage, Item
from engine.data.shapes.base import Candidate, Shape
from engine.display import printable

PAUSE = 6 * 3600.0
"""Seconds of silence after which a new conversation begins."""
_MOST_TURNS = 200
_AUTHORS = (
    "author",
    "user",
    "from",
    "sender",
    "username",
    "user_name",
    "sender_name",
    "nickname",
    "speaker",
    "name",
    "role",
    "author_name",
)
_SAID = ("text", "content", "message", "body", "msg", "utterance")
_TIMES = (
    "timestamp",
    "ts",
    "time",
    "date",
    "created_at",
    "create_time",
    "datetime",
    "sent_at",
    "date_unixtime",
    "created_date",
)
_GROUPS = (
    "thread_ts", "conversation_id", "session_id", "chat_id", "dialog_id", "dialogue_id", "thread_id", "ticket_id", "conv_id",
    "call_id", "interaction_id",
)  # fmt: skip
_BOT_NAMES = ("bot", "assistant", "support", "agent", "gpt", "helpdesk", "service")


def _detect(sample: Sample) -> Iterator[Candidate]:
    author = sample.column(_AUTHORS, lambda name: sample.holds(name, lambda value: bool(_name(value)), 0.6))
    said = sample.column(
        _SAID, lambda name: name != author and sample.holds(name, lambda v: isinstance(v, str | list), 0.6)
    )
    if author is None or said is None:
        return
    group = sample.column(_GROUPS)
    time = sample.column(_TIMES)
    names = Counter(_name(value) for value in sample.values(author))
    names.pop("", None)
    roles = {role_of(name) for name in names}
    by_role = None not in roles and "assistant" in roles and "user" in roles
    if not by_role and (time is None or not len(names) >= 2 or len(names) > max(3, len(sample.rows) * 0.7)):
        return
    used = {"author": author, "text": said}
    used |= {"group": group} if group else {}
    used |= {"time": time} if time else {}
    if by_role:
        yield Candidate(
            used, 0.94, "Each row is one message, and says whether the user or the assistant wrote it."
        )
        return
    bots = {_name(row.get(author)) for row in sample.rows if _is_bot(row, author)} - {""}
    likely = sorted(
        names, key=lambda name: (name in bots, _sounds_like_a_bot(name), names[name]), reverse=True
    )
    known = bool(bots) or any(map(_sounds_like_a_bot, names))
    for rank, name in enumerate(likely[:4]):
        shown = printable(name, 40)
        yield Candidate(
            used | {"assistant": name}, (0.93 if known and rank == 0 else 0.9) - 0.01 * rank,
            f"Each row is one message of a chat; {shown} is taken as the assistant.",
            f"messages of a chat, in which the model learns to write like {shown}",
            "" if known and rank == 0 else f"To learn another person's words, say who in the mapping: assistant={shown}.",
        )  # fmt: skip


def _name(value: Any) -> str:
    if isinstance(value, dict):
        value = (
            value.get("nickname")
            or value.get("name")
            or value.get("username")
            or value.get("role")
            or value.get("id")
        )
    return value.strip() if isinstance(value, str) else ""


def _is_bot(row: Mapping[str, Any], author: str) -> bool:
    who = row.get(author)
    return bool(isinstance(who, dict) and (who.get("isBot") or who.get("bot"))) or bool(row.get("bot_id"))


def _sounds_like_a_bot(name: str) -> bool:
    return any(word in name.lower() for word in _BOT_NAMES)


def _gather(items: Iterator[Item], mapping: Mapped) -> Iterator[Item]:
    """Messages of one conversation as one row, with the place of the first."""
    start, last, group = 0, None, None
    turns: list[dict[str, str]] = []
    for number, row in items:
        if isinstance(row, Damage):
            yield number, row
            continue
        name, text = _name(row.get(mapping["author"])), _text(row.get(mapping["text"]))
        at = _seconds(row.get(mapping["time"])) if "time" in mapping else None
        here = row.get(mapping["group"]) if "group" in mapping else None
        if not name or not text.strip():
            continue  # "Anna joined the channel", a picture without words
        silence = at is not None and last is not None and abs(at - last) > PAUSE
        opens = _opens(name, turns, mapping)
        if turns and (here != group or silence or opens or len(turns) >= _MOST_TURNS):
            yield start, {"messages": turns}
            turns = []
        if not turns:
            start = number
        turns.append({"name": name, "text": text})
        last, group = at if at is not None else last, here
    if turns:
        yield start, {"messages": turns}


def _opens(name: str, turns: list[dict[str, str]], mapping: Mapped) -> bool:
    """A new conversation begins, where neither a number nor the time tells it."""
    if "assistant" in mapping or "group" in mapping or "time" in mapping or not turns:
        return False
    return role_of(name) == "system" or (
        role_of(name) == "user" and role_of(turns[-1]["name"]) == "assistant"
    )


def _text(value: Any) -> str:
    if isinstance(value, list):  # Telegram writes a text with links as a list of pieces
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in value)
    return value if isinstance(value, str) else ""


def _seconds(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value) / (1000 if value > 1e11 else 1)
    if not isinstance(value, str):
        return None
    try:
        return float(value)
    except ValueError:
        pass
    try:
        # A naive time is as good as any: only differences count.
        return datetime.fromisoformat(value.strip()).replace(tzinfo=None).timestamp()
    except (ValueError, OverflowError, OSError):
        return _messenger_time(value)


def _messenger_time(value: str) -> float | None:
    clean = value.replace("\u202f", " ").replace(",", " ").replace("/", ".").replace("-", ".")
    clean = " ".join(clean.split())
    for form in (
        "%m.%d.%y %I:%M %p", "%m.%d.%y %I:%M:%S %p", "%d.%m.%y %H:%M", "%d.%m.%y %H:%M:%S", "%d.%m.%Y %H:%M",
        "%d.%m.%Y %H:%M:%S", "%m.%d.%Y %I:%M %p", "%m.%d.%Y %H:%M",
    ):  # fmt: skip
        try:
            return datetime.strptime(clean, form).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    assistant = mapping.get("assistant")
    messages: list[Message] = []
    for turn in row.get("messages") or []:
        role = (
            (role_of(turn["name"]) or "user")
            if assistant is None
            else ("assistant" if turn["name"] == assistant else "user")
        )
        text = text_of(turn["text"], mapping["text"])
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{text}"
        else:
            messages.append({"role": role, "content": text})
    if assistant is not None:
        while messages and messages[0]["role"] == "assistant":
            messages.pop(0)  # words that answer nothing
    if not any(message["role"] == "assistant" for message in messages):
        who = printable(assistant, 40) if assistant else "the assistant"
        raise RowProblemError(f"{who} answers nothing in this conversation", mapping["author"])
    check_order(messages)
    return [Conversation(messages)]


def _detect_tree(sample: Sample) -> Iterator[Candidate]:
    if {"message_id", "parent_id", "text", "role"} <= sample.columns.keys():
        yield Candidate(
            {"id": sample.columns["message_id"], "parent": sample.columns["parent_id"]}, 0.97,
            "Each row is one message that says which one it answers, as in OpenAssistant.",
        )  # fmt: skip
    elif "prompt" in sample.columns and sample.holds(sample.columns["prompt"], _has_replies):
        yield Candidate(
            {"prompt": sample.columns["prompt"]}, 0.97, "Each row is a tree of replies, as in OpenAssistant."
        )


def _has_replies(value: Any) -> bool:
    return isinstance(value, dict) and "replies" in value and "text" in value


def _gather_tree(items: Iterator[Item], mapping: Mapped) -> Iterator[Item]:
    """Trees of messages, which are written one after the other."""
    if "prompt" in mapping:
        yield from items
        return
    tree: dict[str, dict[str, Any]] = {}
    start = 0
    for number, row in items:
        if isinstance(row, Damage):
            yield number, row
            continue
        if not row.get(mapping["parent"]) and tree:
            yield start, {"prompt": next(iter(tree.values()))}
            tree = {}
        if not tree:
            start = number
        node = {**row, "replies": []}
        parent = tree.get(str(row.get(mapping["parent"])))
        if parent is not None:
            parent["replies"].append(node)
        tree[str(row.get(mapping["id"]))] = node
    if tree:
        yield start, {"prompt": next(iter(tree.values()))}


def _tree(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    node = row.get(mapping.get("prompt", "prompt"))
    messages: list[Message] = []
    while isinstance(node, dict):
        role = role_of(str(node.get("role")))
        if role not in ("user", "assistant"):
            raise RowProblemError("a message without a role", "role")
        messages.append({"role": role, "content": text_of(node.get("text"), "text")})
        replies = [
            reply
            for reply in node.get("replies") or []
            if isinstance(reply, dict) and not reply.get("deleted")
        ]
        # Rank 0 is the reply people liked best.
        node = min(
            replies,
            key=lambda reply: reply["rank"] if isinstance(reply.get("rank"), int | float) else 99,
            default=None,
        )
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if not messages:
        raise RowProblemError("a question that nobody answered", "text")
    check_order(messages)
    return [Conversation(messages)]


SHAPES = (
    Shape(
        "chat_log", "messages of a chat", Conversation, ("author", "text"), _detect, _normalise,
        ("time", "group", "assistant"), gather=_gather,
    ),
    Shape(
        "message_tree", "trees of messages, of which the best replies are learnt", Conversation, (), _detect_tree, _tree,
        ("id", "parent", "prompt"), gather=_gather_tree,
    ),
)  # fmt: skip
