"""Single answers with a verdict, good or bad, as KTO takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError, verdict
from engine.data.columns import (
    ANSWERS,
    CONVERSATIONS,
    INPUTS,
    LABELS,
    PROMPTS,
    SYSTEMS,
    WEAK_LABELS,
    Mapped,
    Sample,
)
from engine.data.conversation import is_turns, messages_of, parsed_prompt
from engine.data.forms import Form, Labelled
from engine.data.shapes.alpaca import completion_messages, prompt_messages
from engine.data.shapes.base import Candidate, Shape, cell, optional_columns
from engine.display import printable


def _detect(sample: Sample) -> Iterator[Candidate]:
    label = sample.column(
        (*LABELS, *WEAK_LABELS), lambda name: sample.holds(name, lambda v: verdict(v) is not None, 0.9)
    )
    if label is None:
        return
    weak = next(name for name, column in sample.columns.items() if column == label) in WEAK_LABELS
    turns = sample.column(CONVERSATIONS, lambda name: sample.holds(name, is_turns))
    used = {"label": label}
    if turns is not None and "completion" not in sample.columns:
        used["messages"] = turns
    else:
        prompt = sample.column(PROMPTS, lambda name: sample.is_text(name) or sample.holds(name, is_turns))
        answer = sample.column(
            ANSWERS,
            lambda name: (
                name not in (prompt, label) and (sample.is_text(name) or sample.holds(name, is_turns))
            ),
        )
        if answer is None or (prompt is None and not sample.holds(answer, is_turns)):
            return
        used["completion"] = answer
        if prompt is not None:
            used["prompt"] = prompt
    used |= optional_columns(sample, used, system=SYSTEMS, input=INPUTS)
    yield Candidate(
        used, 0.9 if weak else 0.998, f"The column {printable(label, 40)} says which answers are good."
    )


def _normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    label = verdict(value := cell(row, mapping, "label"))
    if label is None:
        shown = (
            "no label"
            if value in (None, "")
            else f"the label {printable(value, 30)!r} is neither good nor bad"
        )
        raise RowProblemError(shown, mapping["label"], "Write true for good answers and false for bad ones.")
    if "messages" in mapping:
        completion = messages_of(cell(row, mapping, "messages"))[0]
    else:
        completion = completion_messages(cell(row, mapping, "completion"), mapping)
    if completion[0]["role"] != "assistant":  # a whole conversation, judged by its last answer
        prompt, completion = completion[:-1], completion[-1:]
    elif "prompt" in mapping:
        prompt = prompt_messages(cell(row, mapping, "prompt"), cell(row, mapping, "input"), mapping)
    else:
        prompt = []
    system = cell(row, mapping, "system")
    if system and prompt and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": str(parsed_prompt(system))}, *prompt]
    if completion[-1]["role"] != "assistant":
        raise RowProblemError(
            "it does not end with an answer of the assistant", mapping.get("messages", "completion")
        )
    if not any(turn["content"].strip() or turn.get("tool_calls") for turn in completion):
        raise RowProblemError("empty answer", mapping.get("completion", "completion"))
    if not any(turn["role"] == "user" for turn in prompt):
        raise RowProblemError("no prompt", mapping.get("prompt", "prompt"))
    return [Labelled(prompt, completion, label)]


SHAPES = (
    Shape(
        "labelled",
        "answers with a good/bad label",
        Labelled,
        ("label",),
        _detect,
        _normalise,
        ("prompt", "completion", "messages", "system", "input"),
    ),
)
