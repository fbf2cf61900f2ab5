"""Rows from plain text: paragraphs, lines, or the turns of a written-out chat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from statistics import median

from engine.choice import Choice
from engine.data.reading import Item, Progress
from engine.data.streams import lines
from engine.data.transcripts import LABELLED_LINE

TEXT_ROW_CHARS = 2000
"""Plain text is cut into rows of about this many characters (about 500 tokens), between paragraphs where possible."""
_LOOKED_AT = 400  # lines
_LONG_LINE = 200  # characters; a line of hard-wrapped prose is shorter
# Phone messengers write "[31.12.23, 22:15:01] Anna: text" or "12/31/23, 10:15 PM - Anna: text".
CHAT_LINE = re.compile(
    r"^[\u200e\u200f\u202a]?\[?(?P<time>\d{1,4}[./-]\d{1,2}[./-]\d{1,4},? {1,2}\d{1,2}[:.]\d{2}(?:[:.]\d{2})?"
    r"(?:[\s\u202f]?[AaPp]\.?[\s\u202f]?[Mm]\.?)?)\]?(?: -|:)? (?P<said>.*)$",
    re.DOTALL,
)


def text_items(path: Path, progress: Progress) -> Iterator[Item]:
    """The rows of a text file, each with the line it starts in. Streams.

    A messenger's export gives one row a message (``time``, ``author``, ``text``); anything else gives ``text`` rows of
    at most about `TEXT_ROW_CHARS`: one a line, one a dialogue, or whole paragraphs, as `unit_of` says.
    """
    numbered = lines(path, progress)
    first = list(islice(numbered, _LOOKED_AT))
    unit = unit_of([text.rstrip("\r\n") for _, text in first])
    progress.note(unit.reason)
    whole = chain(first, numbered)
    if unit.value == "message":
        yield from _messages(whole)
    elif unit.value == "line":
        for number, text in whole:
            for piece in _pieces(text.strip()):
                if piece:
                    yield number, {"text": piece}
    elif unit.value == "dialogue":
        yield from _dialogues(whole)
    else:
        yield from _paragraphs(whole)


def unit_of(first: list[str]) -> Choice[str]:
    """What one row of a text file is, told from its first lines: message, dialogue, line or paragraph."""
    filled = [text for text in first if text.strip()]
    if not filled:
        return Choice("paragraph", "The text is cut between paragraphs.")
    if sum(bool(CHAT_LINE.match(text)) for text in filled) >= max(2, len(filled) * 0.3):
        return Choice(
            "message", "The text is the export of a messenger; each message is read with who said it."
        )
    labelled = [match[1].lower() for text in filled if (match := LABELLED_LINE.match(text))]
    if len(labelled) >= max(2, len(filled) * 0.2) and len(set(labelled)) >= 2:
        return Choice(
            "dialogue", "The lines name who speaks, so they are read as conversations.", ("paragraph", "line")
        )
    blank = len(first) - len(filled)
    typical = median(len(text) for text in filled)
    if typical >= _LONG_LINE and len(filled) > 1 and blank <= len(filled) * 0.1:
        return Choice(
            "line",
            f"The lines are long (typically {typical:.0f} characters) with no blank lines between, so each line is a text.",
            ("paragraph",),
        )
    return Choice(
        "paragraph",
        f"The text is cut between paragraphs into pieces of about {TEXT_ROW_CHARS:,} characters.",
        ("line",),
    )


def _messages(numbered: Iterator[tuple[int, str]]) -> Iterator[Item]:
    start, row = 0, {"time": "", "author": "", "text": ""}
    for number, line in numbered:
        text = line.rstrip("\r\n").lstrip("\u200e\u200f\u202a")
        match = CHAT_LINE.match(text)
        if match is None:
            row["text"] += "\n" + text
            continue
        if row["author"]:
            yield start, dict(row)
        author, mark, said = match["said"].partition(": ")
        # Lines without an author are the messenger's own, such as "Anna joined".
        start, row = number, {"time": match["time"], "author": author if mark else "", "text": said}
    if row["author"]:
        yield start, dict(row)


def _dialogues(numbered: Iterator[tuple[int, str]]) -> Iterator[Item]:
    """Text from the first speaker to the next time he begins after a blank line, or after the other's answer."""
    opener, block, start, blank, spoken = "", list[str](), 0, False, set[str]()
    for number, line in numbered:
        text = line.rstrip("\r\n")
        match = LABELLED_LINE.match(text)
        label = match[1].lower() if match else ""
        opener = opener or label
        if label and label == opener and block and len(spoken) > 1 and blank:
            yield start, {"text": "\n".join(block).strip()}
            block, spoken = [], set()
        if not block and text.strip():
            start = number
        if block or text.strip():
            block.append(text)
        if label:
            spoken.add(label)
        blank = not text.strip()
    if block:
        yield start, {"text": "\n".join(block).strip()}


def _paragraphs(numbered: Iterator[tuple[int, str]]) -> Iterator[Item]:
    """Paragraphs end at blank lines. A longer one is cut after a line, or after a word where a line is too long."""
    block: list[str] = []
    start = length = 0
    for number, text in numbered:
        for piece in _pieces(text.rstrip("\r\n")):
            full = length + len(piece) > TEXT_ROW_CHARS
            ends_paragraph = not piece.strip() and length > TEXT_ROW_CHARS // 2
            if block and (full or ends_paragraph):
                yield from _text_row(start, block)
                block, length = [], 0
            if not block:
                start = number
            block.append(piece)
            length += len(piece) + 1
    yield from _text_row(start, block)


def _pieces(line: str) -> Iterator[str]:
    """The line, or parts of it cut after words where it is longer than a row."""
    start = 0
    while len(line) - start > TEXT_ROW_CHARS:
        cut = (
            line.rfind(" ", start + TEXT_ROW_CHARS // 2, start + TEXT_ROW_CHARS) + 1 or start + TEXT_ROW_CHARS
        )
        yield line[start:cut].rstrip()
        start = cut
    yield line[start:]


def _text_row(start: int, block: list[str]) -> Iterator[Item]:
    blank = next((i for i, piece in enumerate(block) if piece.strip()), len(block))
    text = "\n".join(block[blank:]).rstrip()
    if text:
        yield start + blank, {"text": text}
