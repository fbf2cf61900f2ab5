"""What all readers of dataset files share: rows, rows that cannot be read, and how far a reader is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine.display import printable
from engine.errors import UserError

Unit = Literal["line", "row"]
Row = tuple[int, dict[str, Any]]
"""The line (or row number) a row starts at, counted from 1, and its columns."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A row that cannot be read.

    Attributes:
        problem: What is wrong, to follow the place: ``is not valid JSON: a colon is missing``.
        fix: What to do about it.
        column: Character of the line where it was noticed, counted from 1.
    """

    problem: str
    fix: str
    column: int | None = None

    def error(self, path: Path | str, place: str) -> UserError:
        """The error for a reader that stops at the first damage; `place` is such as ``line 3``."""
        column = f", column {self.column}" if self.column else ""
        what = f"{place[:1].upper()}{place[1:]} {self.problem}."
        return UserError(what, f"{printable(path, 300)}, {place}{column}", self.fix)


Item = tuple[int, "dict[str, Any] | Damage"]
"""As `Row`, or the place and damage of a row that cannot be read."""


@dataclass(slots=True)
class Progress:
    """How far a reader is, and what it found out on the way.

    Attributes:
        counted: Bytes used for the rows so far, in a file that is not compressed.
        position: Tells the bytes read of a compressed file.
        encoding: How the bytes are read as text.
        notes: Sentences for the user about how the file was read.
    """

    counted: int = 0
    position: Callable[[], int] | None = None
    encoding: str = "utf-8"
    notes: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Bytes of the file used for the rows so far."""
        return self.position() if self.position else self.counted

    def note(self, sentence: str) -> None:
        """Keep a sentence, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


def strict(items: Iterator[Item], path: Path, place: Callable[[int], str]) -> Iterator[Row]:
    """The rows; stops at the first that cannot be read.

    Raises:
        UserError: A row is damaged.
    """
    for number, row in items:
        if isinstance(row, Damage):
            raise row.error(path, place(number))
        yield number, row


def as_row(value: Any) -> dict[str, Any] | Damage:
    """A JSON value as columns: a bare list of turns and a bare text are rows too."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return {"messages": value}
    kind = {list: "a list", bool: "true or false", type(None): "empty (null)"}.get(type(value), "a number")
    return Damage(
        f"is {kind}, not an object with columns",
        'Each row must look like {"prompt": "...", "completion": "..."}. Remove this one or complete it.',
    )
