"""Ollama's template language, as far as finetui writes it: a second opinion on what our Modelfiles say.

Go's text/template: ``range $i, $_ := .Messages``, ``if``, ``else if``, ``else``, ``end``, ``eq``, ``and``, ``or``, ``not``, ``len``,
``slice``, string constants. As in Ollama, system messages are joined into ``.System`` and the Modelfile's SYSTEM becomes
the first message where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|[^\s()]+')


def render(template: str, messages: Sequence[Mapping[str, str]], system: str = "") -> str:
    """The prompt that Ollama would make."""
    if system and not any(message["role"] == "system" for message in messages):
        messages = [{"role": "system", "content": system}, *messages]
    joined = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    root = {
        "System": joined,
        "Messages": [{"Role": message["role"], "Content": message["content"]} for message in messages],
    }
    parts = re.split(r"(\{\{.*?\}\})", template)
    text, rest = _block(parts, {"$": root, ".": root})
    assert not rest
    return text


def modelfile_template(text: str) -> tuple[str, str]:
    """TEMPLATE and SYSTEM of a Modelfile."""
    found = dict(re.findall(r'^(TEMPLATE|SYSTEM) """(.*?)"""$', text, re.M | re.S))
    return found["TEMPLATE"], found.get("SYSTEM", "")


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
            out += made
        elif words.startswith("range "):
            match = re.fullmatch(r"range \$i, \$_ := (\S+)", words)
            assert match, words
            rest = parts
            for index, item in enumerate(_value(match[1], scope)):
                made, rest = _block(parts, {**scope, "$i": index, ".": item})
                out += made
            parts = _after(parts) if rest is parts else rest[1:]
        else:
            out += str(_evaluate(words, scope))
    return out, parts


def _if(condition: str, parts: list[str], scope: dict[str, Any]) -> tuple[str, list[str]]:
    out, done = "", False
    while True:
        made, parts = _block(parts, scope)
        if not done and (condition == "" or _evaluate(condition, scope)):
            out, done = made, True
        words = parts[0][2:-2].strip()
        parts = parts[1:]
        if words == "end":
            return out, parts
        condition = words.removeprefix("else").strip().removeprefix("if").strip()


def _after(parts: list[str]) -> list[str]:
    depth = 1
    for number, part in enumerate(parts):
        words = part[2:-2].strip() if part.startswith("{{") else ""
        depth += words.startswith(("if ", "range ")) - (words == "end")
        if depth == 0:
            return parts[number + 1 :]
    raise AssertionError("no end")


def _evaluate(words: str, scope: dict[str, Any]) -> Any:
    tokens = _TOKEN.findall(words)
    value, rest = _call(tokens, scope)
    assert not rest, rest
    return value


def _call(tokens: list[str], scope: dict[str, Any]) -> tuple[Any, list[str]]:
    values: list[Any] = []
    name = tokens[0]
    functions = ("eq", "and", "or", "not", "len", "slice")
    rest = tokens[1:] if name in functions else tokens
    while rest and rest[0] != ")":
        if rest[0] == "(":
            value, rest = _call(rest[1:], scope)
            assert rest[0] == ")"
            rest = rest[1:]
        else:
            value, rest = _value(rest[0], scope), rest[1:]
        values.append(value)
    if name not in functions:
        (only,) = values
        return only, rest
    return _apply(name, values), rest


def _apply(name: str, values: list[Any]) -> Any:
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


def _value(word: str, scope: dict[str, Any]) -> Any:
    if word.startswith('"'):
        return word[1:-1]
    if word.isdigit():
        return int(word)
    if word == "$i":
        return scope["$i"]
    start, _, field = word.partition(".")
    assert start in ("", "$"), word
    return scope["$" if start == "$" else "."][field]
