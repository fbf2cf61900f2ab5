"""Alpaca: an instruction, perhaps an input it is about, and the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError, answer_text, parsed, text_of
from engine.data.columns import HISTORIES, IMAGES, INPUTS, INSTRUCTIONS, SYSTEMS, TOOLS, Mapped, Sample
from engine.data.conversation import as_list, check_order, messages_of, parsed_prompt, tool_calls, tools_of
from engine.data.forms import Conversation, Form, Message, assistant, user
from engine.data.shapes.base import Candidate, Shape, cell, optional_columns
from engine.display import printable

_ANSWERS = ("output", "response", "completion", "answer", "输出", "ausgabe", "outputs", "responses", "target")


def _detect(sample: Sample) -> Iterator[Candidate]:
    instruction = sample.column(INSTRUCTIONS, sample.is_text)
    answer = sample.column(
        _ANSWERS, lambda name: not sample.holds(name, lambda value: isinstance(value, list))
    )
    if instruction is None or answer is None:
        return
    used = {"prompt": instruction, "completion": answer}
    used |= optional_columns(
        sample, used, input=INPUTS, system=SYSTEMS, history=HISTORIES, tools=TOOLS, images=IMAGES
    )
    yield Candidate(used, 0.97, f"The columns {instruction} and {answer} are an instruction and its answer.")


def normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    """A conversation of a question and an answer, with what went before."""
    asked, answered = cell(row, mapping, "prompt"), cell(row, mapping, "completion")
    messages: list[Message] = []
    system = cell(row, mapping, "system")
    if system and (words := text_of(parsed_prompt(system), "system message")).strip():
        messages.append({"role": "system", "content": words})
    messages += _history(cell(row, mapping, "history"))
    prompt = prompt_messages(asked, cell(row, mapping, "input"), mapping)
    messages = prompt if prompt[0]["role"] == "system" else messages + prompt
    tools = tools_of(cell(row, mapping, "tools"))
    messages += completion_messages(answered, mapping, bool(tools))
    check_order(messages)
    pictures = as_list(cell(row, mapping, "images"))
    return [Conversation(messages, tools, tuple(pictures))]


def prompt_messages(asked: Any, extra: Any, mapping: Mapped) -> list[Message]:
    """The turns up to the answer, from a text or a list of turns.

    Raises:
        RowProblemError: Nothing is asked.
    """
    column = mapping.get("prompt", "prompt")
    turns = parsed(asked) if isinstance(asked, str) and "role" in asked else asked
    if isinstance(turns, dict) or (isinstance(turns, list) and turns and isinstance(turns[0], dict)):
        return messages_of(turns)[0]
    text = text_of(asked, column)
    if extra is not None:
        if isinstance(extra, list) and all(isinstance(part, str) for part in extra):
            extra = "\n\n".join(extra)
        if (more := text_of(extra, mapping.get("input", "input"))).strip():
            text = f"{text}\n\n{more}"
    if not text.strip():
        raise RowProblemError(f"empty {printable(column, 40)}", column)
    return [user(text)]


def completion_messages(answered: Any, mapping: Mapped, may_call: bool = False) -> list[Message]:
    """The turns of the answer, from a text or a list of turns.

    Raises:
        RowProblemError: There is none.
    """
    column = mapping.get("completion", "completion")
    if isinstance(answered, list | dict):
        turns = parsed(answered)
        first = turns[0] if isinstance(turns, list) and turns else turns
        if isinstance(first, dict) and ("role" in first or "from" in first):
            return messages_of(answered)[0]
    if may_call and isinstance(value := parsed(answered), list | dict) and _is_calls(value):
        return [assistant("") | {"tool_calls": tool_calls(value, column)}]
    text = answer_text(answered, column)
    if not text.strip():
        raise RowProblemError("empty answer", column)
    return [assistant(text)]


def _is_calls(value: Any) -> bool:
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(
        isinstance(call, dict) and ("name" in call or "function" in call) for call in calls
    )


def _history(value: Any) -> list[Message]:
    turns = parsed(value)
    if not isinstance(turns, list) or not turns:
        return []
    return messages_of(turns)[0]


SHAPES = (
    Shape(
        "alpaca",
        "instructions with an answer",
        Conversation,
        ("prompt", "completion"),
        _detect,
        normalise,
        ("input", "system", "history", "tools", "images"),
    ),
)
