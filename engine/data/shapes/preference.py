"""Preference pairs: a better and a worse answer, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError, parsed, text_of
from engine.data.columns import (
    CHOSENS,
    CONVERSATIONS,
    HISTORIES,
    IMAGES,
    INPUTS,
    PROMPTS,
    REJECTEDS,
    SYSTEMS,
    TOOLS,
    Mapped,
    Sample,
)
from engine.data.conversation import as_list, is_turns, messages_of, parsed_prompt, tools_of
from engine.data.forms import Form, Message, Preference, assistant
from engine.data.shapes.alpaca import prompt_messages
from engine.data.shapes.base import Candidate, Shape, cell, optional_columns
from engine.data.transcripts import prompt_turns, turns_of
from engine.display import printable

_AMBIGUOUS = {
    "good",
    "bad",
    "positive",
    "negative",
    "pos",
    "neg",
    "accepted",
    "win",
    "lose",
    "loss",
    "accept",
    "reject",
}


def _detect(sample: Sample) -> Iterator[Candidate]:
    for good, bad in zip(CHOSENS, REJECTEDS, strict=False):
        better = sample.column((good,), lambda name: _is_answer(sample, name))
        worse = sample.column((bad,), lambda name: _is_answer(sample, name))
        if better and worse:
            break
    else:
        better = sample.column(CHOSENS, lambda name: _is_answer(sample, name))
        worse = sample.column(REJECTEDS, lambda name: _is_answer(sample, name))
        if better is None or worse is None:
            return
    used = {"chosen": better, "rejected": worse}
    prompt = prompt_column(sample, (better, worse))
    if prompt is not None:
        used["prompt"] = prompt
    used |= optional_columns(
        sample, used, system=SYSTEMS, input=INPUTS, history=HISTORIES, tools=TOOLS, images=IMAGES
    )
    if "prompt" not in used and "input" in used:
        used["prompt"] = used.pop("input")
    weak = better.lower() in _AMBIGUOUS and prompt is None
    yield Candidate(
        used, 0.6 if weak else 0.998,
        f"{printable(better, 40)} and {printable(worse, 40)} are a better and a worse answer"
        + ("" if prompt else "; the prompt is what both begin with")
        + ".",
    )  # fmt: skip


def prompt_column(sample: Sample, taken: tuple[str, ...]) -> str | None:
    """The column with what is answered: turns or a text."""
    turns = sample.column(
        ("prompt", *CONVERSATIONS), lambda name: name not in taken and sample.holds(name, is_turns)
    )
    if turns is not None and (turns.lower() == "prompt" or "prompt" not in sample.columns):
        return turns
    return sample.column(
        (*PROMPTS, "history"),
        lambda name: (
            name not in taken
            and (sample.is_text(name) or sample.holds(name, lambda v: is_turns(v) or _has_messages(v)))
        ),
    )


def _has_messages(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("messages"), list)


def _is_answer(sample: Sample, column: str) -> bool:
    return sample.is_text(column) or sample.holds(column, lambda value: isinstance(value, list | dict))


def _normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    asked = cell(row, mapping, "prompt")
    tools = cell(row, mapping, "tools")
    if isinstance(asked, dict) and tools is None:
        tools = asked.get("tools")
    made = preference(
        asked,
        cell(row, mapping, "chosen"),
        cell(row, mapping, "rejected"),
        mapping,
        extra=cell(row, mapping, "input"),
        system=cell(row, mapping, "system"),
        history=cell(row, mapping, "history"),
        tools=tools,
    )
    if as_list(cell(row, mapping, "images")):
        raise RowProblemError("it has images, which cannot be trained on yet", mapping["images"])
    return [made]


def preference(
    asked: Any,
    chosen: Any,
    rejected: Any,
    mapping: Mapped,
    extra: Any = None,
    system: Any = None,
    history: Any = None,
    tools: Any = None,
) -> Preference:
    """A pair from the cells of a row: answers are texts, turns, or whole conversations that begin alike.

    Raises:
        RowProblemError: It cannot be used.
    """
    better = _turns(chosen, mapping.get("chosen", "chosen"))
    worse = _turns(rejected, mapping.get("rejected", "rejected"))
    if better[0]["role"] in ("user", "system") and worse[0]["role"] in ("user", "system"):
        prompt, better, worse = _common(better, worse)
    elif asked is None:
        raise RowProblemError(
            "no prompt: neither a column of its own nor at the beginning of both answers", "prompt"
        )
    else:
        prompt = _prompt(asked, extra, mapping)
        if history:
            prompt = messages_of(history)[0] + prompt
    if (
        system
        and prompt[0]["role"] != "system"
        and (words := text_of(parsed_prompt(system), "system")).strip()
    ):
        prompt = [{"role": "system", "content": words}, *prompt]
    if prompt[-1]["role"] == "assistant":
        raise RowProblemError(
            "the prompt ends with the assistant, so nothing is asked", mapping.get("prompt", "prompt")
        )
    for name, answer in (("chosen", better), ("rejected", worse)):
        if not any(turn["content"].strip() or turn.get("tool_calls") for turn in answer):
            raise RowProblemError(
                f"empty {printable(mapping.get(name, name), 40)} answer", mapping.get(name, name)
            )
    if better == worse:
        raise RowProblemError("both answers are the same", mapping.get("rejected", "rejected"))
    return Preference(prompt, better, worse, tools_of(tools))


def _turns(value: Any, column: str) -> list[Message]:
    value = parsed(value)
    if isinstance(value, dict) and ("content" in value or "value" in value):
        value = [value]
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        value = value[0]
    if isinstance(value, list | dict):
        return messages_of(value)[0]
    text = text_of(value, column)
    return turns_of(text) or [assistant(text)] if text.lstrip().startswith(_MARKS) else [assistant(text)]


_MARKS = (
    "Human:",
    "### Human",
    "USER:",
    "User:",
    "<|im_start|>",
    "<|start_header_id|>",
    "[INST]",
    "<s>[INST]",
    "<|user|>",
)


def _prompt(asked: Any, extra: Any, mapping: Mapped) -> list[Message]:
    if isinstance(asked, str) and asked.lstrip().startswith(_MARKS) and (turns := prompt_turns(asked)):
        return turns
    return prompt_messages(asked, extra, mapping)


def _common(
    better: list[Message], worse: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    same = 0
    while same < min(len(better), len(worse)) - 1 and better[same] == worse[same]:
        same += 1
    while same and better[same - 1]["role"] == "assistant":
        same -= 1
    if not same:
        raise RowProblemError(
            "the two conversations do not begin alike, so there is no common prompt", "chosen"
        )
    if any(turns[same]["role"] != "assistant" for turns in (better, worse)):
        raise RowProblemError("the two conversations differ in what is asked, not in the answer", "rejected")
    return better[:same], better[same:], worse[same:]


SHAPES = (
    Shape(
        "preference",
        "preference pairs (a chosen and a rejected answer)",
        Preference,
        ("chosen", "rejected"),
        _detect,
        _normalise,
        ("prompt", "input", "system", "history", "tools", "images"),
    ),
)
