"""Open a dataset to be checked, also one whose first rows are damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from engine.data.check.plan import Plan
from engine.data.check.repair_json import repaired_values
from engine.data.files import RowSource
from engine.data.forms import Objective
from engine.data.reading import Damage, Item, Progress
from engine.data.recognise import Reading, recognise
from engine.data.sources import Spec, open_source, spec_of
from engine.data.streams import LONGEST_LINE, compression_of, encoding_of, lines
from engine.display import printable
from engine.errors import UserError

MOST_COLUMNS = 10_000
"""A dataset of texts has a handful; more are a table of numbers, or a file that lost its line breaks."""
_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Opened:
    """A dataset that is open.

    Attributes:
        spec: Where it comes from.
        source: Its files, of which `head` has been read.
        head: The first rows.
        trouble: Why the rows after them cannot be read.
        reading: How they are read.
        plan: The same, ready for other processes.
    """

    spec: Spec
    source: RowSource
    head: tuple[Item, ...]
    trouble: UserError | None
    reading: Reading
    plan: Plan

    @property
    def has_byte_ranges(self) -> bool:
        """It is one plain JSONL file, so that parts of it can be read side by side."""
        if self.source.format != "jsonl" or not self.source.path.is_file() or self.plan.joins_rows:
            return False
        with self.source.path.open("rb") as stream:
            head = stream.read(4096)
        return compression_of(head) is None and encoding_of(head)[0] == "utf-8"


def open_dataset(spec: str | Path | Spec, objective: Objective | None = None) -> Opened:
    """Open and recognise a dataset. Damaged rows are passed over, and repaired in memory where all are damaged.

    Raises:
        UserError: It cannot be read, holds no rows, or does not suit the objective.
    """
    spec = spec if isinstance(spec, Spec) else spec_of(spec)
    where = printable(spec.path, 300)
    _refuse_wide_table(spec.path)
    source = open_items(spec)
    head, trouble = _head(source)
    rows = [row for _, row in head if isinstance(row, dict)]
    if not rows and source.format == "jsonl" and source.path.is_file():
        for _, text in islice(lines(source.path, Progress()), _LOOKED_AT):
            rows += [value for value, _ in repaired_values(text) or () if isinstance(value, dict)]
    if not rows and trouble is not None:
        raise trouble
    if not rows:
        for number, row in head:
            if isinstance(row, Damage):
                raise row.error(source.path, source.place(number))
        raise UserError(
            "The dataset file holds no rows.", where, "Choose a file with at least two rows of data."
        )
    widest = max(map(len, rows))
    if widest > MOST_COLUMNS:
        raise _too_wide(widest, where)
    reading = recognise(rows, where, objective, spec.mapping or None, spec.format)
    if reading.objective is None:  # tokens, or nothing but images: say what they are
        recognise(rows, where, "sft", spec.mapping or None, spec.format)
    return Opened(spec, source, head, trouble, reading, Plan(reading))


def _head(source: RowSource) -> tuple[tuple[Item, ...], UserError | None]:
    head: list[Item] = []
    try:
        for item in islice(source.items, _LOOKED_AT):
            head.append(item)  # one by one: what was read before an error is kept
    except UserError as error:
        return tuple(head), error
    return tuple(head), None


def open_items(spec: Spec) -> RowSource:
    """Open a source whose damage is always told in words.

    Raises:
        UserError: It cannot be read.
    """
    source = open_source(spec)
    source.items = _in_words(source.items, printable(spec.path, 300))
    return source


def _in_words(items: Iterator[Item], where: str) -> Iterator[Item]:
    try:
        yield from items
    except (SystemError, MemoryError):  # pyarrow, where lengths inside a damaged file are nonsense
        raise UserError("The file is damaged.", where, "Download or export it again.")


def _refuse_wide_table(path: str) -> None:
    """A table whose first line alone has more columns than any dataset, before it is taken apart."""
    file = Path(os.path.expanduser(path))
    if file.suffix.lower() not in (".csv", ".tsv") or not file.is_file():
        return
    with file.open("rb") as stream:
        first = stream.readline(LONGEST_LINE)
    widest = max(first.count(mark) for mark in (b",", b";", b"\t", b"|"))
    if widest >= MOST_COLUMNS and first.count(b" ") < widest / 2:  # prose has a space after each comma
        raise _too_wide(widest + 1, printable(path, 300))


def _too_wide(columns: int, where: str) -> UserError:
    return UserError(
        f"The rows have {columns:,} columns; a dataset of texts has a handful.",
        where,
        "Keep the columns with the texts. If the file should have few columns, its line breaks are missing.",
    )
