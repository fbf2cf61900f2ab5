"""Ollama's template language, as far as a Modelfile of ours uses it: what Ollama would write for a conversation.

Go's text/template with ``range $i, $_ := .Messages``, ``if``, ``else if``, ``else``, ``end``, ``eq``, ``and``, ``or``, ``not``, ``len``,
``slice`` and string constants. As in Ollama, the Modelfile's SYSTEM comes first unless the conversation begins with a system
message, all system messages are joined into ``.System``, and neighbouring messages of one role become one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

_ACTION = re.compile(r"(\{\{.*?\}\})", re.S)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|[^\s()]+')
_LONG = re.compile(r'^(TEMPLATE|SYSTEM) """(.*?)"""$', re.M | re.S)
_STOP = re.compile(r'^PARAMETER stop (?:"""(.*?)"""|"(.*?)")$', re.M | re.S)
_FUNCTIONS = ("eq", "and", "or", "not", "len", "slice")


class TemplateError(ValueError):
    """The template uses something that is not part of this subset."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a Modelfile says about conversations.

    Attributes:
        template: In Ollama's language.
        system: The system prompt where none is given.
        stops: Texts that end an answer.
    """

    template: str
    system: str
    stops: tuple[str, ...]


def read_modelfile(text: str) -> Said:
    """Read the parts of a Modelfile that decide what the model sees and when it stops."""
    found = {match[1]: match[2] for match in _LONG.finditer(text)}
    stops = tuple(match[1] if match[1] is not None else match[2] for match in _STOP.finditer(text))
    return Said(found.get("TEMPLATE", ""), found.get("SYSTEM", ""), stops)


def render(template: str, messages: Sequence[Mapping[str, Any]], system: str = "") -> str:
    """The prompt that Ollama makes of a conversation.

    Raises:
        TemplateError: The template uses something unknown, or is broken.
    """
    said = [(str(message["role"]), str(message.get("content") or "")) for message in messages]
    if system and (not said or said[0][0] != "system"):
        said = [("system", system), *said]
    joined = "\n\n".join(content for role, content in said if role == "system")
    turns = [
        {"Role": role, "Content": "\n\n".join(content for _, content in group)}
        for role, group in groupby(said, key=itemgetter(0))
    ]
    root = {"System": joined, "Messages": turns}
    text, rest = _block(_ACTION.split(template), {"$": root, ".": root})
    if rest:
        raise TemplateError(f"{rest[0]} ends nothing")
    return text


def _block(parts: list[str], scope: dict[str, Any]) -> tuple[str, list[str]]:
    """Until the matching end or else, which stays in the rest."""
    out = ""
    while parts:
        part, parts = parts[0], parts[1:]
        if not part.startswith("{{"):
            out += part
            continue
        words = part[2:-2].strip()
        if words == "end" or words.startswith("else"):
            return out, [part, *parts]
        if words.startswith("if "):
            made, parts = _if(words[3:], parts, scope)
        elif words.startswith("range "):
            made, parts = _range(words, parts, scope)
        else:
            value = _evaluate(words, scope)
            made = str(value).lower() if isinstance(value, bool) else str(value)
        out += made
    return out, parts


def _range(words: str, parts: list[str], scope: dict[str, Any]) -> tuple[str, list[str]]:
    match = re.fullmatch(r"range \$i, \$_ := (\S+)", words)
    if match is None:
        raise TemplateError(words)
    out = ""
    for index, item in enumerate(_value(match[1], scope)):
        out += _block(parts, {**scope, "$i": index, ".": item})[0]
    return out, _after(parts)


def _if(condition: str, parts: list[str], scope: dict[str, Any]) -> tuple[str, list[str]]:
    out, done = "", False
    while True:
        chosen = not done and (condition == "" or bool(_evaluate(condition, scope)))
        made, parts = _block(parts, scope)
        if chosen:
            out, done = made, True
        if not parts:
            raise TemplateError("an if without an end")
        words = parts[0][2:-2].strip()
        parts = parts[1:]
        if words == "end":
            return out, parts
        condition = words.removeprefix("else").strip().removeprefix("if").strip()


def _after(parts: list[str]) -> list[str]:
    """What follows the end of the block that begins here."""
    depth = 1
    for number, part in enumerate(parts):
        words = part[2:-2].strip() if part.startswith("{{") else ""
        depth += words.startswith(("if ", "range ")) - (words == "end")
        if depth == 0:
            return parts[number + 1 :]
    raise TemplateError("a range without an end")


def _evaluate(words: str, scope: dict[str, Any]) -> Any:
    value, rest = _call(_TOKEN.findall(words), scope)
    if rest:
        raise TemplateError(words)
    return value


def _call(tokens: list[str], scope: dict[str, Any]) -> tuple[Any, list[str]]:
    if not tokens:
        raise TemplateError("an empty action")
    name = tokens[0]
    rest = tokens[1:] if name in _FUNCTIONS else tokens
    values: list[Any] = []
    while rest and rest[0] != ")":
        if rest[0] == "(":
            value, rest = _call(rest[1:], scope)
            rest = rest[1:]
        else:
            value, rest = _value(rest[0], scope), rest[1:]
        values.append(value)
    if name in _FUNCTIONS:
        return _apply(name, values), rest
    if len(values) != 1:
        raise TemplateError(" ".join(tokens))
    return values[0], rest


def _apply(name: str, values: list[Any]) -> Any:
    try:
        match name:
            case "eq":
                return values[0] == values[1]
            case "and":
                return next((value for value in values if not value), values[-1])
            case "or":
                return next((value for value in values if value), values[-1])
            case "not":
                return not values[0]
            case "len":
                return len(values[0])
            case _:
                return values[0][values[1] :]
    except (IndexError, TypeError) as error:
        raise TemplateError(f"{name}: {error}") from error


def _value(word: str, scope: dict[str, Any]) -> Any:
    if word.startswith('"'):
        try:
            return json.loads(word, strict=False)
        except ValueError as error:
            raise TemplateError(word) from error
    if word.isdigit():
        return int(word)
    if word == "$i" and word in scope:
        return scope[word]
    start, _, field = word.partition(".")
    if start not in ("", "$") or field not in ("System", "Messages", "Role", "Content"):
        raise TemplateError(word)
    owner = scope["$" if start == "$" else "."]
    return owner.get(field, "")
