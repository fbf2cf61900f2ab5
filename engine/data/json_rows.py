"""Rows from JSON files: one object a line (JSONL), an array of objects, or an object that holds one."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

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
            value = json.loads(text)
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
        decode = codecs.getincrementaldecoder("utf-8-sig")()
        text, start_line, start_column = (
            "",
            1,
            1,
        )  # text is what is not used up yet; the place where it starts
        chunk, read = _CHUNK, 0

        def place(pos: int) -> tuple[int, int]:
            newlines = text.count("\n", 0, pos)
            column = pos - text.rfind("\n", 0, pos) if newlines else start_column + pos
            return start_line + newlines, column

        def more() -> bool:
            nonlocal text, read, chunk
            raw = stream.read(chunk)
            read += len(raw)
            chunk *= 2  # an item may be longer than a chunk: retrying it costs at most twice its length
            try:
                text += decode.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                bad_utf8(path, place(len(text))[0] + error.object[: error.start].count(b"\n"))
            return bool(raw)

        def skip_space(pos: int) -> int:
            while True:
                match = _SPACE.match(text, pos)
                pos = match.end() if match else pos
                if pos < len(text) or not more():
                    return pos

        pos = skip_space(0) + 1  # the opening bracket, which the caller has seen
        first = True
        while True:
            pos = skip_space(pos)
            if first and text[pos : pos + 1] == "]":
                break
            try:
                value, end = decoder.raw_decode(text, pos)
            except (ValueError, RecursionError) as error:
                if more():
                    continue
                at = error.pos if isinstance(error, json.JSONDecodeError) else pos
                message = (
                    error.msg if isinstance(error, json.JSONDecodeError) else str(error).partition(":")[0]
                )
                broken(path, message, *place(at))
            progress.bytes = min(size, read - len(text) + end)
            line = place(pos)[0]
            yield as_row(value, path, line, "line")
            first = False
            pos = skip_space(end)
            if text[pos : pos + 1] != ",":
                break
            start_line, start_column = place(pos + 1)
            text, pos, chunk = text[pos + 1 :], 0, _CHUNK
        if text[pos : pos + 1] != "]":
            broken(path, "the list is not closed, or a comma is missing between two rows", *place(pos))
        pos = skip_space(pos + 1)
        if pos < len(text):
            broken(path, "there is text after the end of the list", *place(pos))
        progress.bytes = size


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
