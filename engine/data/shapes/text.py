"""Plain text to go on reading, and texts that turn out to be written-out conversations or examples of a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError, text_of
from engine.data.columns import IMAGES, SYSTEMS, TEXTS, Mapped, Sample
from engine.data.conversation import check_order, tool_calls
from engine.data.forms import Conversation, Form, Message, Text, assistant, user
from engine.data.shapes.base import Candidate, Shape, cell, optional_columns
from engine.data.transcripts import turns_of
from engine.display import printable

_STRONG = ("text", "raw_content", "page_content", "raw_text", "full_text")
_CLASSES = (
    "label",
    "labels",
    "category",
    "class",
    "sentiment",
    "intent",
    "topic",
    "emotion",
    "tag",
    "label_text",
)
_TRANSCRIPTS = (
    *TEXTS,
    "chat",
    "conversation",
    "conversations",
    "dialogue",
    "transcript",
    "prompt",
    "sample",
    "messages",
)
_CLASSIFIED = ("sentence", "tweet", "comment", "utterance", "input", "query", "prompt", "message", "title")
_DOCUMENT = 2000  # characters; a longer text is more likely there to be read than to be sorted
_LONG = 40  # characters; a shorter text in a column of unknown name is probably a name or an address
_CALL = "<functioncall>"


def _detect_text(sample: Sample) -> Iterator[Candidate]:
    column = sample.column(TEXTS, sample.is_text)
    if column is not None:
        strong = any(sample.columns.get(name) == column for name in _STRONG)
        used = {"text": column} | optional_columns(sample, {"text": column}, images=IMAGES)
        yield Candidate(used, 0.85 if strong else 0.6, f"The column {printable(column, 40)} holds texts.")
        return
    texts = [name for name in list(sample.columns.values())[:200] if sample.is_text(name)]
    longest = max(texts, key=sample.mean_length, default=None)
    if longest is not None and sample.mean_length(longest) >= _LONG:
        shown = printable(longest, 40)
        yield Candidate(
            {"text": longest}, 0.35, f"{shown} is the column with the longest texts.",
            note=f"No column has a usual name; {shown} is read because its texts are the longest.",
        )  # fmt: skip


def _text(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    text = text_of(cell(row, mapping, "text"), mapping["text"])
    if not text.strip():
        raise RowProblemError("empty text", mapping["text"])
    return [Text(text)]


def _detect_transcript(sample: Sample) -> Iterator[Candidate]:
    column = sample.column(_TRANSCRIPTS, sample.is_text)
    if column is None or not sample.holds(
        column, lambda value: isinstance(value, str) and bool(turns_of(value)), 0.6
    ):
        return
    used = {"text": column} | optional_columns(sample, {"text": column}, system=SYSTEMS)
    yield Candidate(
        used, 0.93, f"The texts in {printable(column, 40)} are conversations with marks for who speaks."
    )


def _transcript(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    text = text_of(cell(row, mapping, "text"), mapping["text"])
    turns = turns_of(text)
    if turns is None:
        raise RowProblemError("no question and answer in the text", mapping["text"])
    messages: list[Message] = []
    for turn in turns:
        message: Message = dict(turn)
        if message["role"] == "assistant" and message["content"].startswith(_CALL):
            calls = message["content"].removeprefix(_CALL).strip()
            message |= {
                "content": "",
                "tool_calls": tool_calls(calls.replace("'{", "{").replace("}'", "}"), mapping["text"]),
            }
        messages.append(message)
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()  # the marks of a prompt that was not answered
    system = cell(row, mapping, "system")
    if system and messages and messages[0]["role"] != "system":
        words = text_of(system, mapping["system"]).removeprefix("SYSTEM:").strip()
        messages.insert(0, {"role": "system", "content": words})
    if not messages:
        raise RowProblemError("no answer in the text", mapping["text"])
    check_order(messages)
    return [Conversation(messages)]


def _detect_label(sample: Sample) -> Iterator[Candidate]:
    column = sample.column((*TEXTS, *_CLASSIFIED), sample.is_text)
    label = sample.column(_CLASSES)
    if column is None or label is None or label == column:
        return
    found = [_only_one(value) for value in sample.values(label)]
    values = [str(value) for value in found if isinstance(value, str | int | bool)]
    few = values and len(set(values)) <= max(20, len(values) // 3) and max(map(len, values)) <= 40
    if few:
        named = sample.is_text(label) or any(isinstance(value, str) for value in found)
        yield Candidate(
            {"prompt": column, "completion": label}, 0.86 if named and sample.mean_length(column) < _DOCUMENT else 0.5,
            f"The column {printable(label, 40)} sorts the texts into {len(set(values))} classes.",
        )  # fmt: skip


def _only_one(value: Any) -> Any:
    """The label, also where it is the only one of a list, as doccano writes it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _label(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    text = text_of(cell(row, mapping, "prompt"), mapping["prompt"])
    label = text_of(_only_one(cell(row, mapping, "completion")), mapping["completion"])
    if not text.strip() or not label.strip():
        raise RowProblemError(f"empty {printable(mapping['completion' if text.strip() else 'prompt'], 40)}")
    return [Conversation([user(text), assistant(label)])]


SHAPES = (
    Shape("text", "plain text, which the model learns to continue", Text, ("text",), _detect_text, _text, ("images",)),
    Shape(
        "transcript", "conversations written out as text", Conversation, ("text",), _detect_transcript, _transcript,
        ("system",),
    ),
    Shape(
        "text_label", "texts with a label, which the model learns to name", Conversation, ("prompt", "completion"),
        _detect_label, _label,
    ),
)  # fmt: skip
