"""What is wrong inside one text: control characters, escape sequences, template tokens, keys and personal data.

Every row of a dataset comes through here, so a few passes at the speed of memory decide first which rows are looked
at closely at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.data.check.secrets import HINT, emails_in, numbers_in, secrets_in
from engine.display import printable

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffd]")
_TEMPLATE = re.compile(
    r"<\|[A-Za-z_][A-Za-z0-9_/-]{0,39}\|?>|</?s>|</?(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|<\uff5c[^\uff5c<>]{1,40}\uff5c>"
    r"|<</?SYS>>|\[/?INST\]|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)
_MOJIBAKE = re.compile(r"\u00c3[\u0080-\u00bf]|\u00e2\u20ac[\u2122\u0153\u009d\u00a6\u201c\u201d]")
LOOKED_AT = 1_000_000
"""Of a longer text only this many characters are looked at."""
_RUN = 20
_RUN_OF_WORD = b"x" * _RUN
_RUN_OF_DIGITS = b"d" * 9  # the shortest phone number; bank account numbers have 10 in a row
_CARD_DIGITS = b"d" * 15


def _classes() -> tuple[bytes, bytes]:
    """For each byte: part of a key or token (x), control character (!), or other; and digit (d) or other."""
    word, digit = bytearray(b"." * 256), bytearray(b"." * 256)
    for code in range(128):
        if chr(code).isalnum() or chr(code) in "_-+/=":
            word[code] = ord("x")
        elif (code < 32 and chr(code) not in "\t\n\v\f\r") or code == 127:
            word[code] = ord("!")
    digit[48:58] = b"d" * 10
    return bytes(word), bytes(digit)


_WORD, _DIGIT = _classes()


def text_problems(text: str, raw: bytes) -> Iterator[tuple[str, str]]:
    """Look at one text.

    Args:
        text: The text.
        raw: The same in UTF-8.

    Yields:
        Kind of finding, and the problem in words.
    """
    if len(raw) > LOOKED_AT:
        text = text[:LOOKED_AT]
        raw = text.encode("utf-8", "replace")
    if b"<" in raw or b"[" in raw:
        for word in dict.fromkeys(match[0] for match in _TEMPLATE.finditer(text)):
            yield "template token", f"the text holds {printable(word, 60)}"
    classes = raw.translate(_WORD)
    if _RUN_OF_WORD in classes:
        for name in dict.fromkeys(_secrets(raw, classes)):
            yield "secret", f"{name} is in the text"
    if b"@" in raw:
        for name in dict.fromkeys(emails_in(text)):
            yield "personal data", f"an e-mail address is in the text: {printable(name, 80)}"
    digits = raw.translate(_DIGIT, b" -.()/")
    if _RUN_OF_DIGITS in digits:
        for name in dict.fromkeys(numbers_in(text, _CARD_DIGITS in digits)):
            yield "personal data", f"{name} is in the text"
    if b"!" in classes or (len(raw) != len(text) and CONTROL.search(text)):
        yield from _control_problems(text)
    if len(raw) != len(text) and _MOJIBAKE.search(text):
        yield "damaged characters", "letters look like UTF-8 read in another encoding, such as \u00c3\u00a9"


def _secrets(raw: bytes, classes: bytes) -> Iterator[str]:
    """Keys near the long runs of letters and digits; only these pieces are searched."""
    done, place = 0, classes.find(_RUN_OF_WORD)
    while place >= 0:
        end = classes.find(b".", place + _RUN)
        end = len(classes) if end < 0 else end
        # Some keys begin before their long run, such as tokens with dots or the heading of a private key.
        start = max(done, classes.rfind(b".", 0, place) - 60, 0)
        if HINT.search(raw, start, end):
            yield from secrets_in(raw[start : end + 700].decode("utf-8", "replace"))
        done, place = end, classes.find(_RUN_OF_WORD, end)


def _control_problems(text: str) -> Iterator[tuple[str, str]]:
    kinds: dict[str, str] = {}
    for match in CONTROL.finditer(text):
        char = match[0]
        kind = (
            "escape sequence"
            if char in "\x1b\x9b\x9d"
            else "null byte"
            if char == "\x00"
            else "damaged characters"
            if char == "\ufffd"
            else "bidi override"
            if char >= "\u202a"
            else "control character"
        )
        kinds.setdefault(kind, char)
        if len(kinds) == 5:
            break
    for kind, char in kinds.items():
        yield (
            kind,
            "the text holds \ufffd, which stands for a character that was lost"
            if char == "\ufffd"
            else f"the text holds {printable(char)}",
        )
