"""Repair a line that is nearly JSON, where there is one sure reading. Nothing is guessed and nothing completed."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*")|(?P<single>'(?:[^'\\]|\\.)*')|(?P<mark>[{}\[\]:,])|(?P<space>\s+)|(?P<word>[^\s{}\[\]:,"']+)""",
    re.S,
)
_WORDS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_NAME = re.compile(r"[A-Za-z_]\w*")


def repaired_values(text: str) -> list[tuple[Any, tuple[str, ...]]] | None:
    """The values on a line that is not valid JSON, and what was done to read them.

    Repairs: commas too many, texts in single quotes, names without quotes, Python's True, False and None, line breaks and
    tabs inside texts, null bytes between values, several objects on one line. A cut-off line is not completed.

    Returns:
        Value and repairs of each row; empty for what is left of a list's brackets; None where there is no sure reading.
    """
    repairs: list[str] = []
    stripped = text.strip("\x00 \t\r\n")
    if stripped != text.strip():
        repairs.append("null bytes removed")
    if stripped in ("[", "]", "],", ","):
        return []
    if stripped.startswith("[{") and not stripped.rstrip(",").endswith("]"):
        stripped = stripped[1:]
        repairs.append("stray bracket removed")
    if stripped.endswith("}]") and not stripped.startswith("["):
        stripped = stripped[:-1]
        repairs.append("stray bracket removed")
    if stripped.endswith(","):
        stripped = stripped.rstrip(", \t")
        repairs.append("trailing comma removed")
    values = _values(stripped)
    if values is None:
        pieces = _rewritten(stripped, repairs)
        values = None if pieces is None else _values(pieces)
    elif not repairs:
        repairs.append(
            "line breaks and tabs inside texts escaped"
            if len(values) == 1
            else "objects put on lines of their own"
        )
    if values is None:
        return None
    if len(values) > 1 and "objects put on lines of their own" not in repairs:
        repairs.append("objects put on lines of their own")
    done = tuple(dict.fromkeys(repairs))
    return [(value, done) for value in values]


def _values(text: str) -> list[Any] | None:
    """JSON values one after the other, with or without commas between them."""
    decoder = json.JSONDecoder(strict=False)
    values: list[Any] = []
    place = 0
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict | list):
            return None
        values.append(value)
        while place < len(text) and text[place] in ", \t\r\n":
            place += 1
    return values or None


def _rewritten(text: str, repairs: list[str]) -> str | None:
    """The text with every word written as JSON wants it; None where something is not understood."""
    out: list[str] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        token, place = match[0], match.end()
        if match["single"]:
            repairs.append("single quotes replaced")
            token = _requoted(token)
        elif match["word"]:
            word = _word(token, _followed_by_colon(text, place))
            if word is None:
                return None
            if word != token:
                repairs.append("names put in quotes" if word.startswith('"') else "Python words replaced")
            token = word
        elif token in ("}", "]"):
            if out and out[-1] == ",":
                out.pop()
                repairs.append("trailing comma removed")
        elif match["space"]:
            continue
        elif token == "," and out and out[-1] == ",":
            repairs.append("trailing comma removed")
            continue
        out.append(token)
    return "".join(out)


def _word(token: str, is_name: bool) -> str | None:
    if is_name:
        return json.dumps(token) if _NAME.fullmatch(token) else None
    if token in _WORDS:
        return _WORDS[token]
    return token if _NUMBER.fullmatch(token) and token[-1] not in "." else None


def _requoted(token: str) -> str:
    inner = re.sub(
        r"\\(.)|\"",
        lambda match: "'" if match[0] == r"\'" else match[0] if match[1] else '\\"',
        token[1:-1],
        flags=re.S,
    )
    return f'"{inner}"'


def _followed_by_colon(text: str, place: int) -> bool:
    while place < len(text) and text[place].isspace():
        place += 1
    return text[place : place + 1] == ":"
