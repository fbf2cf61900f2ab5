"""Rows from JSON files: one object a line (JSONL), an array of objects, or an object that holds one."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import orjson

from engine.data.json_object import rows_inside
from engine.data.reading import Damage, Item, Progress, as_row
from engine.data.streams import LONGEST_LINE, TextDecoder, lines, open_stream, too_long
from engine.errors import UserError

_SPACE = re.compile(r"[ \t\r\n]*")
_CHUNK = 1 << 20
_HINT = (
    "In JSONL each line is one whole object. A missing quote, comma or bracket is the usual cause; names and texts need "
    "double quotes, and a line break inside a text is written \\n."
)
_TOO_DEEP = "lists or objects are nested too deeply"
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


def jsonl_items(path: Path, progress: Progress) -> Iterator[Item]:
    """One value a line; blank lines are passed over. Streams."""
    loads = json.loads
    for number, text in lines(path, progress):
        try:
            value = loads(text)
        except json.JSONDecodeError:
            if text.strip():
                yield number, damage_of(text.rstrip("\r\n"))
            continue
        except RecursionError:
            try:
                value = orjson.loads(text)  # goes as deep wherever it is called from, as the check does
            except ValueError:
                yield number, broken(_TOO_DEEP, 1)
                continue
        except ValueError as error:
            yield number, broken(str(error).partition(":")[0], 1)
            continue
        yield number, value if type(value) is dict else as_row(value)


def damage_of(line: str) -> Damage:
    """What is wrong with a line, seen without its line end, which would be taken for a part of it."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return broken(error.msg, error.colno)
    except (ValueError, RecursionError) as error:
        return broken(str(error).partition(":")[0], 1)
    return broken("Extra data", len(line))


def value_items(path: Path, progress: Progress) -> Iterator[Item]:
    """The values of one JSON array, or values written one after the other, with the line each starts in. Streams.

    After a broken value it goes on with the next line that begins like the first value did; where the values are not
    on lines of their own, the rest cannot be told apart and is given up.
    """
    decoder = json.JSONDecoder()
    with open_stream(path, progress) as stream:
        window = _Window(path, stream, progress)
        window.skip_space()
        in_list = window.char() == "["
        if in_list:
            window.pos += 1
            window.skip_space()
        indent = window.indent()
        done = in_list and window.char() == "]"
        while not done:
            try:
                value, end = decoder.raw_decode(window.text, window.pos)
            except (ValueError, RecursionError) as error:
                start = window.pos
                if _may_go_on(error, window) and window.grow():
                    continue
                message, ahead = str(error).partition(":")[0], 0
                if isinstance(error, json.JSONDecodeError):
                    message, ahead = error.msg, error.pos - start
                line, _ = window.place(window.pos)
                at, column = window.place(window.pos + ahead)
                yield (at, broken(message, column)) if at == line else (line, broken(message, None, at))
                if indent is None or not window.skip_to(indent, ahead):
                    return
                continue
            line, _ = window.place(window.pos)
            window.pos = end
            if progress.position is None:
                progress.counted = window.used()
            yield line, as_row(value)
            window.skip_space()
            if window.char() == ",":
                window.pos += 1
                window.skip_space()
            elif in_list or not window.char():
                break
        if in_list and window.char() != "]":
            line, column = window.place(window.pos)
            yield line, broken("the list is not closed, or a comma is missing between two rows", column)
            return
        window.pos += in_list
        window.skip_space()
        if window.char():
            line, column = window.place(window.pos)
            yield line, broken("there is text after the end of the list", column)


def _may_go_on(error: Exception, window: _Window) -> bool:
    """The value may only look broken because it is not all in memory yet."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    left = len(window.text) - error.pos
    return left < 100 or (error.msg.startswith("Unterminated") and len(window.text) < LONGEST_LINE)


class _Window:
    """The part of a file's text that is in memory, and the place in it."""

    def __init__(self, path: Path, stream: BinaryIO, progress: Progress) -> None:
        self.text = ""
        self.pos = 0
        self._path, self._stream = path, stream
        head = stream.peek(4096) if isinstance(stream, io.BufferedReader) else b""
        self._decoder = TextDecoder(head, progress)
        self._read = len(stream.read(self._decoder.bom))
        self._line, self._line_start, self._counted = 1, 0, 0  # line at _counted, and where that line starts
        self._chunk = _CHUNK

    def char(self) -> str:
        """The character at the place; empty at the end of the file."""
        return self.text[self.pos : self.pos + 1]

    def skip_space(self) -> None:
        while True:
            match = _SPACE.match(self.text, self.pos)
            self.pos = match.end() if match else self.pos
            if self.pos < len(self.text) or not self.grow():
                return

    def indent(self) -> str | None:
        """The white space before the value at the place, where the value begins a line."""
        start = self.text.rfind("\n", 0, self.pos) + 1
        before = self.text[start : self.pos]
        return f"\n{before}{self.char()}" if start and not before.strip() else None

    def skip_to(self, beginning: str, ahead: int) -> bool:
        """Go on behind the place to a line that begins so. False where none does."""
        self.pos += max(ahead, 1)
        while True:
            found = self.text.find(beginning, max(0, self.pos - len(beginning) + 1))
            if found >= 0:
                self.pos = found + len(beginning) - 1
                return True
            self.pos = max(self.pos, len(self.text) - len(beginning))
            if not self.grow():
                return False

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
        """Read on, and forget what lies before the place. False at the end of the file.

        Raises:
            UserError: The value at the place is longer than fits.
        """
        self.place(self.pos)
        if len(self.text) - self.pos > LONGEST_LINE:
            too_long(self._path, self._line)
        raw = self._stream.read(self._chunk)
        # A row longer than a chunk is tried again with twice as much, so that long rows stay cheap.
        self._chunk = self._chunk * 2 if self.pos == 0 and self.text else _CHUNK
        self._read += len(raw)
        more = self._decoder.decode(raw, final=not raw)
        self.text = self.text[self.pos :] + more
        self._line_start -= self.pos
        self._counted -= self.pos
        self.pos = 0
        return bool(raw)


def object_items(path: Path, progress: Progress, part: str | None) -> list[Item]:
    """A whole file that is one object: the rows inside it, or the object itself as the only row.

    Args:
        path: The file.
        progress: Told what was found.
        part: Name of the list to take where there are several.

    Raises:
        UserError: Not valid JSON, or several lists of rows inside and none of them named.
    """
    value = _whole(path, progress)
    if not isinstance(value, dict):
        return [(1, as_row(value))]
    inside = rows_inside(value, path, progress, part)
    return (
        [(1, value)] if inside is None else [(number, as_row(item)) for number, item in enumerate(inside, 1)]
    )


def layout_of(path: Path) -> Literal["object", "several", "broken"]:
    """A file is one JSON object over several lines, several of them, or neither."""
    try:
        return "object" if isinstance(_whole(path, Progress()), dict) else "broken"
    except UserError as error:
        return "several" if _WORDS["Extra data"] in error.what else "broken"


def continues(line: str) -> bool:
    """A line is the beginning of a JSON value that goes on in the next line."""
    text = line.strip()
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text) - 1
    except (ValueError, RecursionError):
        pass
    return False


def broken(message: str, column: int | None, line: int | None = None) -> Damage:
    """Text that is not JSON, in words; `line` says where inside a row of many lines."""
    if "recursion depth" in message:
        message = _TOO_DEEP
    elif message.startswith("Exceeds the limit"):
        message = "a number has thousands of digits"
    words = _WORDS.get(message.removesuffix(": "), message[:1].lower() + message[1:])
    return Damage(f"is not valid JSON: {words}{f' in line {line}' if line else ''}", _HINT, column)


def _whole(path: Path, progress: Progress) -> Any:
    with open_stream(path) as stream:
        raw = stream.read()
    decoder = TextDecoder(raw[:4096], progress)
    text = decoder.decode(raw[decoder.bom :], final=True)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        _raise(path, error.msg, error.lineno, error.colno)
    except (ValueError, RecursionError) as error:
        _raise(path, str(error).partition(":")[0], 1, 1)


def _raise(path: Path, message: str, line: int, column: int) -> NoReturn:
    raise broken(message, column).error(path, f"line {line}")
