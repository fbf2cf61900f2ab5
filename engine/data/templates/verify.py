"""Whether a template works with a model: made-up conversations are written through it and looked at token by token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from engine.data.render import Renderer, XRay
from engine.display import printable
from engine.errors import UserError

Level = Literal["good", "note", "bad"]

QUESTION, ANSWER = "How is the weather today?", "Sunny and warm"
SECOND_QUESTION, SECOND_ANSWER = "And what about tomorrow?", "Rain all day"
RULE, FIRST_THOUGHT, LAST_THOUGHT = "Answer as a sailor", "Clouds were few", "Pressure is falling"
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": ANSWER},
    {"role": "user", "content": SECOND_QUESTION},
    {"role": "assistant", "content": SECOND_ANSWER},
]
WITH_SYSTEM: list[dict[str, Any]] = [{"role": "system", "content": RULE}, *TALK]
WITH_THOUGHTS: list[dict[str, Any]] = [
    TALK[0],
    {**TALK[1], "reasoning_content": FIRST_THOUGHT},
    TALK[2],
    {**TALK[3], "reasoning_content": LAST_THOUGHT},
]
TOOL = "look_outside"
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": TOOL,
            "description": "Look outside",
            "parameters": {
                "type": "object",
                "properties": {"where": {"type": "string", "description": "The side of the house"}},
                "required": ["where"],
            },
        },
    }
]
WITH_TOOLS: list[dict[str, Any]] = [
    TALK[0],
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": TOOL, "arguments": {"where": "north"}}}],
    },
    {"role": "tool", "name": TOOL, "content": "blue sky"},
    TALK[1],
]
_MARKS = re.compile(r"<\|?[^\s<>|]{1,40}\|>|<(?:start|end)_of_turn>|<｜[^\s<>｜]{1,40}｜>|\[/?INST\]")


@dataclass(frozen=True, slots=True)
class Check:
    """One property of a template.

    Attributes:
        name: What was looked at: answers, stops, start, prompt, marks, system, tools or thinking.
        level: ``good``; ``note`` for what a user should know; ``bad`` for what spoils the training.
        words: One sentence.
    """

    name: str
    level: Level
    words: str


def verify(renderer: Renderer) -> tuple[Check, ...]:
    """Look at a template with the tokenizer of its model.

    Returns:
        What was found, the most important first.
    """
    try:
        seen = renderer.xray({"messages": TALK})
    except UserError as error:
        return (Check("answers", "bad", f"An ordinary conversation is refused. {error.what}"),)
    return (
        _answers(seen),
        _stops(seen),
        _start(seen, renderer),
        *_prompt(renderer),
        *_marks(seen, renderer),
        _system(renderer),
        _tools(renderer),
        _thinking(renderer),
    )


def learnt_text(seen: XRay) -> str:
    """The text of the tokens that are learnt."""
    return "".join(text for text, trained in seen.tokens if trained)


def _answers(seen: XRay) -> Check:
    learnt = learnt_text(seen)
    found = [words for words in (ANSWER, SECOND_ANSWER) if words in learnt]
    if not found:
        return Check("answers", "bad", "Nothing the assistant says is learnt.")
    if QUESTION in learnt or SECOND_QUESTION in learnt:
        return Check("answers", "bad", "Questions are learnt as if the assistant had said them.")
    if len(found) < 2:
        return Check(
            "answers", "note", "In a conversation of several turns only some of the answers are learnt."
        )
    return Check("answers", "good", "What the assistant says is learnt, and nothing else.")


def _stops(seen: XRay) -> Check:
    if not seen.stops:
        return Check(
            "stops",
            "bad",
            "The end of an answer is not learnt as one token, so the model would never learn to stop.",
        )
    ends = sum(
        1 for number, trained in zip(seen.ids, seen.mask, strict=True) if trained and number in seen.ends
    )
    if ends < 2:
        return Check("stops", "note", "Only the last answer of a conversation teaches the model to stop.")
    return Check("stops", "good", "Every answer teaches the model how to stop.")


def _start(seen: XRay, renderer: Renderer) -> Check:
    bos = renderer.named.get("bos_token")
    number = renderer.tokenizer.token_to_id(bos) if bos else None
    if number is not None and list(seen.ids[:2]) == [number, number]:
        return Check("start", "bad", f"The start token {printable(bos, 40)} is written twice.")
    if number is not None and seen.ids[:1] == (number,):
        return Check("start", "good", "Start token once.")
    return Check("start", "good", "No start token, as the template has it.")


def _prompt(renderer: Renderer) -> Iterator[Check]:
    """The prompt for an answer has to be how the answers that were learnt began."""
    try:
        prompt = renderer.render(TALK[:1], True)
        seen = renderer.xray({"messages": TALK[:2]})
    except UserError:
        return
    if "".join(text for text, _ in seen.tokens).startswith(prompt):
        return
    words = "When the model is asked, its answer begins in another way than it learnt."
    if "<think>" in prompt[-12:]:
        words = (
            "When the model is asked, it begins with <think>, but answers without thinking are learnt without it: put "
            "<think>...</think> into the answers, or ask with thinking off."
        )
    yield Check("prompt", "note", words)


def _marks(seen: XRay, renderer: Renderer) -> Iterator[Check]:
    """Marks such as <|im_start|> have to be one token each, and survive the way there and back."""
    text = "".join(text for text, _ in seen.tokens)
    known = set(renderer.source.family.tokens) if renderer.source.family else set()
    broken = []
    for mark in sorted({*_MARKS.findall(text), *(token for token in known if token in text)}):
        ids = renderer.tokenizer.encode(mark, add_special_tokens=False).ids
        if len(ids) != 1 or renderer.tokenizer.decode(ids, skip_special_tokens=False).strip() != mark:
            broken.append(mark)
    if broken:
        shown = printable(", ".join(broken[:3]), 120) + (", ..." if len(broken) > 3 else "")
        yield Check(
            "marks",
            "note",
            f"Not a token of this model, so it is cut into pieces: {shown}. Is it the right template?",
        )
    else:
        yield Check("marks", "good", "Every mark of the template is one token.")


def _system(renderer: Renderer) -> Check:
    try:
        text = renderer.render(WITH_SYSTEM)
    except UserError:
        return Check("system", "note", "No system message allowed: rows with one are refused.")
    if RULE not in text:
        return Check("system", "note", "A system message is left out without a word.")
    return Check("system", "good", "System role allowed.")


def _tools(renderer: Renderer) -> Check:
    try:
        seen = renderer.xray({"messages": WITH_TOOLS, "tools": TOOLS})
    except UserError:
        return Check("tools", "note", "No tool calls: rows with them are refused.")
    if TOOL not in learnt_text(seen):
        return Check("tools", "note", "No tool calls: the template leaves them out.")
    return Check("tools", "good", "Tool calls are learnt.")


def _thinking(renderer: Renderer) -> Check:
    try:
        learnt = learnt_text(renderer.xray({"messages": WITH_THOUGHTS}))
        plain = learnt_text(renderer.xray({"messages": TALK[:2]}))
    except UserError:
        return Check("thinking", "note", "Answers with thinking are refused.")
    if FIRST_THOUGHT in learnt:
        words = "Thinking is learnt in every answer."
        if FIRST_THOUGHT not in renderer.render(WITH_THOUGHTS):
            words += " When the model is used, its template drops that of earlier answers."
    elif LAST_THOUGHT in learnt:
        words = (
            "Thinking is learnt in the last answer and dropped from those before, as when the model is used."
        )
    else:
        words = "Thinking that stands beside an answer is left out: the template has no place for it."
    if "<think>" in plain:
        words += " Answers without it teach the model not to think."
    return Check("thinking", "good" if LAST_THOUGHT in learnt else "note", words)
