"""Conversations written out as one text, with marks for who speaks."""

from __future__ import annotations

import re
from collections.abc import Callable

Turns = list[dict[str, str]]
_NAMES = (
    "human|user|assistant|gpt|bot|chatbot|ai|model|system|customer|client|agent|support|question|answer|q|a|"
    "function response|instruction|input|response|prompt|completion|frage|antwort|nutzer|assistent|usuario|asistente|"
    "utilisateur|pregunta|respuesta|用户|助手|问|答|问题|回答"
)
LABELLED_LINE = re.compile(rf"^\s{{0,3}}(?:[#>*-]{{1,4}} ?)?\*{{0,2}}({_NAMES}) ?[:：]", re.IGNORECASE)
"""A line that begins with the name of who speaks, such as ``User:`` or ``### Response:``."""
_LABEL = re.compile(
    rf"(?:^|\n)[ \t]{{0,3}}(?:[#>*-]{{1,4}} ?)?\*{{0,2}}({_NAMES}) ?[:：]\*{{0,2}}[ \t]*", re.IGNORECASE
)
_ROLES = {
    "assistant": "assistant gpt bot chatbot ai model agent support answer a response completion antwort assistent "
    "asistente respuesta 助手 答 回答",
    "system": "system",
    "tool": "function_response",
}
_ROLE = {name.replace("_", " "): role for role, names in _ROLES.items() for name in names.split()}
# Names that go together; others are words of the text.
_FAMILIES = (
    set("question answer q a frage antwort pregunta respuesta 问 答 问题 回答".split()),
    {"instruction", "input", "response"},
    {"prompt", "completion"},
)
_IM = re.compile(r"<\|im_start\|>\s*(\w+)\s*\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_LLAMA3 = re.compile(
    r"<\|start_header_id\|>\s*(\w+)\s*<\|end_header_id\|>\s*(.*?)(?:<\|eot_id\|>|<\|eom_id\|>|\Z)", re.DOTALL
)
_GEMMA = re.compile(r"<start_of_turn>\s*(\w+)\s*\n(.*?)(?:<end_of_turn>|\Z)", re.DOTALL)
_ZEPHYR = re.compile(
    r"<\|(system|user|assistant)\|>\s*(.*?)(?:</s>|<\|end\|>|<\|endoftext\|>|(?=<\|(?:system|user|assistant)\|>)|\Z)",
    re.DOTALL,
)
_INST = re.compile(r"\[INST\](.*?)\[/INST\](.*?)(?:</s>|(?=\[INST\])|\Z)", re.DOTALL)
_SYS = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)
_END = re.compile(r"(?:</s>|<\|endoftext\|>|<\|im_end\|>|<eos>)\s*$")


def turns_of(text: str) -> Turns | None:
    """The turns of a written-out conversation; None where the text is none.

    Understands chat templates (ChatML, Llama 2 and 3, Gemma, Zephyr) and names at the beginning of a line
    (``Human:``, ``### Response:``, ``USER:``, ``Q:``).
    """
    for mark, read in _TEMPLATES:
        if mark in text:
            return _filled(read(text))
    return _filled(_labelled(text))


def prompt_turns(text: str) -> Turns | None:
    """The turns of a written-out prompt, which ends where the assistant would speak; None where it has no marks."""
    read = next((read for mark, read in _TEMPLATES if mark in text), _labelled)
    turns = read(text)
    while turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
        turns.pop()
    return turns or None


def _filled(turns: Turns) -> Turns | None:
    roles = {turn["role"] for turn in turns}
    return turns if {"user", "assistant"} <= roles else None


def _matched(pattern: re.Pattern[str]) -> Callable[[str], Turns]:
    def read(text: str) -> Turns:
        return [{"role": _role(match[1]), "content": match[2].strip()} for match in pattern.finditer(text)]

    return read


def _role(name: str) -> str:
    lower = name.lower()
    return lower if lower in ("system", "tool") else _ROLE.get(lower, "user")


def _inst(text: str) -> Turns:
    turns: Turns = []
    for asked, answered in _INST.findall(text):
        if system := _SYS.search(asked):
            turns.append({"role": "system", "content": system[1].strip()})
            asked = _SYS.sub("", asked)
        turns.append({"role": "user", "content": asked.strip()})
        if answered.strip():
            turns.append({"role": "assistant", "content": answered.strip()})
    return turns


def _labelled(text: str) -> Turns:
    marks = list(_LABEL.finditer(text))
    if not marks:
        return []
    first = marks[0][1].lower()
    family = next((names for names in _FAMILIES if first in names), None)
    outside = set().union(*_FAMILIES)
    marks = [
        mark for mark in marks if (mark[1].lower() in family if family else mark[1].lower() not in outside)
    ]
    turns: Turns = []
    preamble = text[: marks[0].start()].strip()
    names = {mark[1].lower() for mark in marks}
    if preamble and not {"instruction", "response"} <= names:  # Alpaca's boilerplate is no system prompt
        turns.append({"role": "system", "content": preamble})
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        content = _END.sub("", text[mark.end() : after.start() if after else len(text)].strip()).strip()
        role = _role(mark[1])
        if mark[1].lower() == "input" and turns and turns[-1]["role"] == "user":
            turns[-1]["content"] += f"\n\n{content}"
        else:
            turns.append({"role": role, "content": content})
    return turns


_TEMPLATES: tuple[tuple[str, Callable[[str], Turns]], ...] = (
    ("<|im_start|>", _matched(_IM)),
    ("<|start_header_id|>", _matched(_LLAMA3)),
    ("<start_of_turn>", _matched(_GEMMA)),
    ("<|assistant|>", _matched(_ZEPHYR)),
    ("[/INST]", _inst),
)
