"""Pairs under any name: prompt and completion, question and answer, article and summary, Frage und Antwort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.data.cells import parsed
from engine.data.columns import (
    ANSWERS,
    CHOSENS,
    HISTORIES,
    IMAGES,
    PROMPTS,
    REJECTEDS,
    SYSTEMS,
    TOOLS,
    Sample,
)
from engine.data.conversation import is_turns
from engine.data.forms import Conversation
from engine.data.shapes.alpaca import normalise
from engine.data.shapes.base import Candidate, Shape, optional_columns
from engine.display import printable

_WEAK_PROMPTS = {
    "title", "content", "text", "context", "document", "source", "article", "ticket", "goal", "statement", "post",
    "scenario", "utterance", "dialogue", "src", "front", "task", "customer", "description",
}  # fmt: skip
_WEAK_ANSWERS = {
    "text",
    "code",
    "model",
    "ai",
    "back",
    "label_text",
    "reference",
    "gold",
    "sql",
    "translation",
}
_PROGRAM = 15  # characters
_EXTRAS = ("input", "context", "passage", "eingabe")
_WORDS_BETWEEN = ("prompt", "completion")


def _detect_standard(sample: Sample) -> Iterator[Candidate]:
    if not {"prompt", "completion"} <= sample.columns.keys():
        return
    prompt, completion = sample.columns["prompt"], sample.columns["completion"]
    if _askable(sample, prompt):
        yield _pair(sample, prompt, completion, 0.97, "prompts with a completion")


def _detect(sample: Sample) -> Iterator[Candidate]:
    for prompt in (sample.columns[name] for name in (*PROMPTS, "text") if name in sample.columns):
        if not _askable(sample, prompt):
            continue
        answers = [name for name in ANSWERS if sample.columns.get(name) != prompt]
        answer = sample.column(answers, lambda name: _answerable(sample, name))
        answer = answer or sample.column(answers, lambda name: not sample.values(name))  # empty in all rows
        if answer is None:
            continue
        names = {column: name for name, column in sample.columns.items()}
        if {names[prompt], names[answer]} == set(_WORDS_BETWEEN):
            return  # its own shape
        # A task and the program that does it, as in MBPP; a short code is a word of some list.
        program = names[answer] == "code" and sample.mean_length(answer) >= _PROGRAM
        weak_answer = names[answer] in _WEAK_ANSWERS and not program
        confidence = 0.95 - 0.08 * (names[prompt] in _WEAK_PROMPTS) - 0.15 * weak_answer
        yield _pair(sample, prompt, answer, confidence)
        return
    asked = sample.column(PROMPTS, sample.is_text) or sample.prompt_like()
    answered = sample.column(ANSWERS, sample.is_text) or sample.answer_like()
    if asked and answered and asked != answered:
        yield _pair(sample, asked, answered, 0.8)
        return
    yield from _guess(sample)


def _guess(sample: Sample) -> Iterator[Candidate]:
    """Two columns of text with names that say nothing: probably question and answer, in one order or the other."""
    columns = list(sample.columns.values())
    if len(columns) > 3:
        return
    texts = [column for column in columns if sample.is_text(column) and _has_words(sample, column)]
    if len(texts) == 2:
        first, second = texts
        note = (
            "The names of the columns do not tell which one is the answer. If the first line of a table is an example "
            "already, put a line of names above it."
        )
        yield _pair(sample, first, second, 0.4, note=note)
        yield _pair(sample, second, first, 0.3, note=note)


def _pair(
    sample: Sample, prompt: str, completion: str, confidence: float, title: str = "", note: str = ""
) -> Candidate:
    used = {"prompt": prompt, "completion": completion}
    used |= optional_columns(
        sample, used, input=_EXTRAS, system=SYSTEMS, history=HISTORIES, tools=TOOLS, images=IMAGES
    )
    shown = f"{printable(prompt, 40)} and {printable(completion, 40)}"
    title = title or f"pairs of {shown}"
    return Candidate(used, confidence, f"The columns {shown} are a question and its answer.", title, note)


def _askable(sample: Sample, column: str) -> bool:
    return sample.is_text(column) or sample.holds(column, is_turns)


def _answerable(sample: Sample, column: str) -> bool:
    name = next(name for name, written in sample.columns.items() if written == column)
    if name in (*CHOSENS, *REJECTEDS) and name not in ("good",):
        return False
    return sample.holds(column, lambda value: not isinstance(value, list | dict) or _answer_inside(value))


def _answer_inside(value: Any) -> bool:
    value = parsed(value)
    if isinstance(value, dict):
        return any(key in value for key in ("text", "value", "answer", "content"))
    return bool(value) and isinstance(value[0], str | dict)


def _has_words(sample: Sample, column: str) -> bool:
    return sample.holds(
        column, lambda value: isinstance(value, str) and (" " in value.strip() or len(value) > 12)
    )


_OPTIONAL = ("input", "system", "history", "tools", "images")
SHAPES = (
    Shape(
        "prompt_completion",
        "prompts with a completion",
        Conversation,
        ("prompt", "completion"),
        _detect_standard,
        normalise,
        _OPTIONAL,
    ),
    Shape(
        "question_answer",
        "questions with an answer",
        Conversation,
        ("prompt", "completion"),
        _detect,
        normalise,
        _OPTIONAL,
    ),
)
