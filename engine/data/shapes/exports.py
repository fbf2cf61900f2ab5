"""Exports of chat products: ChatGPT's tree of messages and Claude's list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError
from engine.data.columns import Mapped, Sample
from engine.data.conversation import check_order, role_of
from engine.data.forms import Conversation, Form, Message
from engine.data.shapes.base import Candidate, Shape, cell

_MOST_TURNS = 100_000


def _detect_chatgpt(sample: Sample) -> Iterator[Candidate]:
    column = sample.columns.get("mapping")
    if column is not None and sample.holds(column, _is_tree):
        yield Candidate(
            {"mapping": column}, 0.99, "The column mapping holds the messages of a ChatGPT export."
        )


def _is_tree(value: Any) -> bool:
    nodes = list(value.values())[:3] if isinstance(value, dict) else []
    return bool(nodes) and all(isinstance(node, dict) and "message" in node for node in nodes)


def _chatgpt(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    nodes = cell(row, mapping, "mapping")
    if not isinstance(nodes, dict) or not nodes:
        raise RowProblemError("no messages", mapping["mapping"])
    spoken: list[tuple[str, str]] = []
    for node in _branch(nodes, row.get("current_node")):
        message = node.get("message")
        if not isinstance(message, dict):
            continue
        author = message.get("author")
        role = author.get("role") if isinstance(author, dict) else None
        metadata = message.get("metadata")
        hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation")
        if (
            role in ("user", "assistant", "system")
            and not hidden
            and message.get("recipient", "all") == "all"
        ):
            spoken.append((role, _parts(message.get("content"))))
    return [_joined(spoken)]


def _branch(nodes: dict[str, Any], last: Any) -> list[dict[str, Any]]:
    """The messages from the first to the one on screen; other branches are earlier versions."""
    parents = {_parent(node) for node in nodes.values()}
    if not isinstance(last, str) or last not in nodes:
        last = next((name for name in reversed(nodes) if name not in parents), None)
        if not parents - {None}:  # no tree at all: in the order they are written
            return [node for node in nodes.values() if isinstance(node, dict)]
    branch: list[dict[str, Any]] = []
    while last in nodes and len(branch) <= min(len(nodes), _MOST_TURNS):
        node = nodes[last]
        if not isinstance(node, dict):
            break
        branch.append(node)
        last = _parent(node)
    return branch[::-1]


def _parent(node: Any) -> str | None:
    parent = node.get("parent") if isinstance(node, dict) else None
    return parent if isinstance(parent, str) else None


def _parts(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, dict):
        return ""
    if content.get("content_type") in (
        "thoughts",
        "reasoning_recap",
        "user_editable_context",
        "model_editable_context",
    ):
        return ""
    parts = content.get("parts")
    if isinstance(parts, list):
        return "\n".join(
            part if isinstance(part, str) else str(part.get("text") or "")
            for part in parts
            if isinstance(part, str | dict)
        )
    return str(content.get("text") or "")


def _detect_claude(sample: Sample) -> Iterator[Candidate]:
    column = sample.columns.get("chat_messages")
    if column is not None and sample.holds(column, _has_senders):
        yield Candidate(
            {"messages": column}, 0.99, "The column chat_messages holds the messages of a Claude export."
        )


def _has_senders(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "sender" in value[0]


def _claude(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    messages = cell(row, mapping, "messages")
    if not isinstance(messages, list) or not messages:
        raise RowProblemError("no messages", mapping["messages"])
    spoken: list[tuple[str, str]] = []
    for message in messages:
        role = role_of(str(message.get("sender"))) if isinstance(message, dict) else None
        if role is None:
            raise RowProblemError("a message without a sender", mapping["messages"])
        content = message.get("content")
        texts = [
            str(part.get("text") or "")
            for part in (content if isinstance(content, list) else [])
            if isinstance(part, dict) and part.get("type") == "text"
        ]
        spoken.append((role, str(message.get("text") or "") or "\n\n".join(filter(None, texts))))
    return [_joined(spoken)]


def _joined(spoken: list[tuple[str, str]]) -> Conversation:
    """One turn a speaker: products store an answer in pieces, and leave empty messages behind."""
    messages: list[Message] = []
    for role, text in spoken:
        if not text.strip():
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n\n{text}"
        else:
            messages.append({"role": role, "content": text})
    if not messages:
        raise RowProblemError("empty conversation", "messages")
    check_order(messages)
    return Conversation(messages)


SHAPES = (
    Shape(
        "chatgpt_export",
        "conversations exported from ChatGPT",
        Conversation,
        ("mapping",),
        _detect_chatgpt,
        _chatgpt,
    ),
    Shape(
        "claude_export",
        "conversations exported from Claude",
        Conversation,
        ("messages",),
        _detect_claude,
        _claude,
    ),
)
