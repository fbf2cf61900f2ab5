"""Rows from JSON files: one object a line (JSONL), an array of objects, or an object that holds one."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from engine.data.reading import Progress, Row, as_row, bad_utf8, lines
from engine.data.shapes import CONVERSATION_COLUMNS
from engine.display import printable
from engine.errors import UserError

_SPACE = re.compile(r"[ \t\r\n]*")
_CHUNK = 1 << 20
_HINT = (
    "In JSONL each line is one whole object. A missing quote, comma or bracket is the usual cause; names and texts need "
    "double quotes, and a line break inside a text is written \\n."
)
_WORDS = {
    "Extra data": "there is more text after the end of the object",
    "Expecting value": "a value is missing or has no quotes",
    "Expecting ',' delimiter": "a comma or a closing quote is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a column name in double quotes is expected",
    "Illegal trailing comma before end of object": "there is a comma too many before the closing brace",
    "Illegal trailing comma before end of array": "there is a comma too many before the closing bracket",
    "Unterminated string starting at": "a text has no closing quote",
    "Invalid control character at": "there is a line break or another control character inside a text",
    "Invalid \\escape": "a backslash must be doubled",
}


def jsonl_rows(path: Path, progress: Progress) -> Iterator[Row]:
    """One object a line; blank lines are passed over. Streams.

    Raises:
        UserError: With the line and column of what is wrong.
    """
    for number, text in lines(path, progress):
        if not text.strip():
            continue
        try:
            value = json.loads(text.rstrip("\r\n"))
        except json.JSONDecodeError as error:
            broken(path, error.msg, number, error.colno)
        except (ValueError, RecursionError) as error:
            broken(path, str(error).partition(":")[0], number, 1)
        yield as_row(value, path, number, "line")


def array_rows(path: Path, progress: Progress) -> Iterator[Row]:
    """The objects of one JSON array, with the line each starts in. Streams, so a preview need not read it all.

    Raises:
        UserError: With the line and column of what is wrong.
    """
    size = path.stat().st_size
    decoder = json.JSONDecoder()
    with path.open("rb") as stream:
        window = _Window(path, stream)
        window.skip_space()
        window.pos += 1  # the opening bracket, which the caller has seen
        window.skip_space()
        done = window.char() == "]"
        while not done:
            try:
                value, end = decoder.raw_decode(window.text, window.pos)
            except (ValueError, RecursionError) as error:
                start = window.pos
                if window.grow():
                    continue
                message, ahead = str(error).partition(":")[0], 0
                if isinstance(error, json.JSONDecodeError):
                    message, ahead = error.msg, error.pos - start
                broken(path, message, *window.place(window.pos + ahead))
            line, _ = window.place(window.pos)
            window.pos = end
            progress.bytes = min(size, window.used())
            yield as_row(value, path, line, "line")
            window.skip_space()
            if window.char() != ",":
                break
            window.pos += 1
            window.skip_space()
        if window.char() != "]":
            problem = "the list is not closed, or a comma is missing between two rows"
            broken(path, problem, *window.place(window.pos))
        window.pos += 1
        window.skip_space()
        if window.char():
            broken(path, "there is text after the end of the list", *window.place(window.pos))
        progress.bytes = size


class _Window:
    """The part of a file's text that is in memory, and the place in it."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.text = ""
        self.pos = 0
        self._path, self._stream = path, stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._line, self._line_start, self._counted = 1, 0, 0  # line at _counted, and where that line starts
        self._read, self._chunk = 0, _CHUNK

    def char(self) -> str:
        """The character at the place; empty at the end of the file."""
        return self.text[self.pos : self.pos + 1]

    def skip_space(self) -> None:
        while True:
            match = _SPACE.match(self.text, self.pos)
            self.pos = match.end() if match else self.pos
            if self.pos < len(self.text) or not self.grow():
                return

    def place(self, pos: int) -> tuple[int, int]:
        """Line and column, counted from 1; never before a place asked for earlier."""
        newlines = self.text.count("\n", self._counted, pos)
        if newlines:
            self._line += newlines
            self._line_start = self.text.rfind("\n", self._counted, pos) + 1
        self._counted = max(self._counted, pos)
        return self._line, pos - self._line_start + 1

    def used(self) -> int:
        """About how many bytes lie before the place."""
        return self._read - (len(self.text) - self.pos)

    def grow(self) -> bool:
        """Read on, and forget what lies before the place. False at the end of the file."""
        self.place(self.pos)
        raw = self._stream.read(self._chunk)
        # A row longer than a chunk is tried again with twice as much, so that long rows stay cheap.
        self._chunk = self._chunk * 2 if self.pos == 0 and self.text else _CHUNK
        self._read += len(raw)
        try:
            more = self._decode.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            line, _ = self.place(len(self.text))
            bad_utf8(self._path, line + error.object[: error.start].count(b"\n"))
        self.text = self.text[self.pos :] + more
        self._line_start -= self.pos
        self._counted -= self.pos
        self.pos = 0
        return bool(raw)


def object_rows(path: Path) -> list[Row]:
    """A whole file that is one object: the array inside it, or the object itself as the only row.

    Raises:
        UserError: Not valid JSON, or several arrays of objects inside.
    """
    value = _whole(path)
    if not isinstance(value, dict):
        return [as_row(value, path, 1, "line")]
    arrays = {
        key: item
        for key, item in value.items()
        if isinstance(item, list) and item and isinstance(item[0], dict)
    }
    if not arrays or any(key.lower() in CONVERSATION_COLUMNS for key in arrays):
        return [(1, value)]
    if len(arrays) > 1:
        raise UserError(
            f"The file is one JSON object with {len(arrays)} lists of rows inside: {printable(', '.join(arrays), 200)}.",
            printable(path, 300),
            "Save the rows you want as JSONL, one object a line, or as one list: [ {...}, {...} ].",
        )
    rows = next(iter(arrays.values()))
    return [as_row(item, path, number, "row") for number, item in enumerate(rows, 1)]


def is_whole_object(path: Path) -> bool:
    """The file is one JSON object, spread over several lines."""
    try:
        return isinstance(_whole(path), dict)
    except UserError:
        return False


def broken(path: Path, message: str, line: int, column: int) -> NoReturn:
    """The error for text that is not JSON."""
    words = _WORDS.get(message.removesuffix(": "), message[:1].lower() + message[1:])
    raise UserError(
        f"Line {line} is not valid JSON: {words}.",
        f"{printable(path, 300)}, line {line}, column {column}",
        _HINT,
    )


def _whole(path: Path) -> Any:
    raw = path.read_bytes()
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        bad_utf8(path, raw.count(b"\n", 0, error.start) + 1)
    except json.JSONDecodeError as error:
        broken(path, error.msg, error.lineno, error.colno)
    except (ValueError, RecursionError) as error:
        broken(path, str(error).partition(":")[0], 1, 1)
