"""What all readers of dataset files share: lines of text, rows, and the errors that name a place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from engine.display import printable
from engine.errors import UserError

Row = tuple[int, dict[str, Any]]
"""The line (or row number) a row starts at, counted from 1, and its columns."""


@dataclass(slots=True)
class Progress:
    """How far a reader is.

    Attributes:
        bytes: Bytes of the file used for the rows so far.
    """

    bytes: int = 0


def lines(path: Path, progress: Progress) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, with their line ends, without a byte order mark.

    Raises:
        UserError: Invalid UTF-8, with the line.
    """
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            progress.bytes += len(raw)
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                bad_utf8(path, number)
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def as_row(value: Any, path: Path, number: int, unit: str) -> Row:
    """Check that a value is an object with columns.

    Raises:
        UserError: It is something else, such as null.
    """
    if isinstance(value, dict):
        return number, value
    kind = {list: "a list", str: "a text", bool: "true or false", type(None): "empty (null)"}.get(
        type(value), "a number"
    )
    raise UserError(
        f"{unit.capitalize()} {number} is {kind}, not an object with columns.",
        f"{printable(path, 300)}, {unit} {number}",
        'Each row must look like {"prompt": "...", "completion": "..."}. Remove this one or complete it.',
    )


def bad_utf8(path: Path, line: int) -> NoReturn:
    """The error for bytes that are not UTF-8 text."""
    raise UserError(
        f"Line {line} is not UTF-8 text (the usual encoding of text files).",
        f"{printable(path, 300)}, line {line}",
        "Save the file again as UTF-8. If it came from Excel: Save as, CSV UTF-8. On a command line: "
        "iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    )
