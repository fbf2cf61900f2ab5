"""Load a dataset file into training rows, split it, or take a quick look."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.data.conversation import RowProblemError, to_training_row
from engine.data.files import RowSource, open_rows
from engine.data.reading import Row
from engine.data.shapes import Shape, recognise, require_sft
from engine.display import printable
from engine.errors import UserError

SHAPE_ROWS = 100
"""The shape is told from this many rows."""
PEEK_BYTES = 1_000_000
"""How much of a file a quick look reads to estimate the number of rows."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoadedData:
    """A dataset in memory.

    Attributes:
        rows: Usable rows: ``{"messages": [...]}`` each, or ``{"text": ...}`` each.
        numbers: The line (or row number) of each usable row in the file.
        shape: How the columns were read.
        total: Rows in the file.
        usable: Rows that can be trained on.
        skipped: Line (or row number) and reason of each row that cannot.
        unit: What the numbers count: ``line`` or ``row``.
    """

    rows: list[dict[str, Any]]
    numbers: list[int]
    shape: Shape
    total: int
    usable: int
    skipped: tuple[tuple[int, str], ...]
    unit: Literal["line", "row"]

    def summary(self, most: int = 3) -> str:
        """Such as ``412 of 415 rows usable; 3 skipped: line 17 (empty answer), ...``."""
        text = f"{self.usable:,} of {self.total:,} rows usable"
        if not self.skipped:
            return text
        return f"{text}; {len(self.skipped):,} skipped: {_list_skipped(self.skipped, self.unit, most)}"


@dataclass(frozen=True, slots=True)
class Peek:
    """The beginning of a dataset.

    Attributes:
        rows: The first rows as they are in the file, with their numbers.
        examples: Those of them that can be used, in training form, with their numbers.
        skipped: Number and reason of those that cannot.
        shape: How the columns are read; its objective may be one this release cannot train.
        columns: Names of the columns, in order.
        num_rows: Rows in the file.
        exact: ``num_rows`` was counted, not estimated from the file's size.
        unit: What the numbers count: ``line`` or ``row``.
        format: Kind of file.
    """

    rows: tuple[Row, ...]
    examples: tuple[Row, ...]
    skipped: tuple[tuple[int, str], ...]
    shape: Shape
    columns: tuple[str, ...]
    num_rows: int
    exact: bool
    unit: Literal["line", "row"]
    format: str


def load_rows(path: str | Path) -> LoadedData:
    """Read a whole dataset.

    Args:
        path: A JSONL, JSON, CSV, TSV, Parquet or text file.

    Raises:
        UserError: The file cannot be read, is broken at some line, or has nothing that can be trained on.
    """
    where = printable(path, 300)
    source = open_rows(path)
    first, shape = _shape_of(source, where)
    require_sft(shape, where)
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    skipped: list[tuple[int, str]] = []
    for number, row in _chain(first, source.rows):
        try:
            rows.append(to_training_row(row, shape))
            numbers.append(number)
        except RowProblemError as problem:
            skipped.append((number, str(problem)))
    if not rows:
        raise UserError(
            f"None of the {len(skipped):,} rows can be used: {_list_skipped(tuple(skipped), source.unit, 3)}.",
            where,
            f"The file was read as {shape.title}; each row needs something to answer and an answer."
            if shape.name != "text"
            else "Each row needs a text that is not empty.",
        )
    return LoadedData(rows, numbers, shape, len(rows) + len(skipped), len(rows), tuple(skipped), source.unit)


def split(
    rows: Sequence[T], eval_fraction: float, seed: int, max_eval: int | None = None
) -> tuple[list[T], list[T]]:
    """Hold some rows out for evaluation; both parts keep their order.

    The same rows, fraction and seed give the same split on every machine and Python version: each row draws one number
    from ``random.Random(seed)``, whose sequence Python guarantees, and the rows with the smallest are held out.

    Args:
        rows: The rows.
        eval_fraction: Share to hold out; 0 holds none out, otherwise at least 1 row lands in each part.
        seed: Any integer.
        max_eval: Hold out at most this many.

    Returns:
        Rows for training, rows for evaluation.

    Raises:
        UserError: Fewer than 2 rows cannot be split.
    """
    if eval_fraction <= 0:
        return list(rows), []
    if len(rows) < 2:
        raise UserError(
            "A dataset of 1 row cannot be split: at least 1 row is needed for training and 1 for evaluation.",
            f"eval_fraction {eval_fraction:g}",
            "Add rows, or set eval_fraction to 0 to train without evaluation.",
        )
    wanted = max(1, round(len(rows) * eval_fraction))
    num_eval = min(wanted, len(rows) - 1, max_eval if max_eval and max_eval > 0 else len(rows))
    draw = random.Random(seed)
    order = sorted(range(len(rows)), key=[draw.random() for _ in rows].__getitem__)
    held_out = set(order[:num_eval])
    train = [row for index, row in enumerate(rows) if index not in held_out]
    return train, [row for index, row in enumerate(rows) if index in held_out]


def peek(path: str | Path, limit: int = 20) -> Peek:
    """A quick look at the beginning of a file, fast also where the file is large.

    Args:
        path: The dataset file.
        limit: How many rows to return.

    Raises:
        UserError: As `load_rows`, but only for what is wrong in the part that is read; shapes for other objectives
            are returned, not refused.
    """
    where = printable(path, 300)
    source = open_rows(path)
    first, shape = _shape_of(source, where, max(limit, 1))
    count, exact = len(first), True
    if source.num_rows is not None:
        count = source.num_rows
    else:
        for _ in source.rows:
            count += 1
            if source.progress.bytes >= PEEK_BYTES:
                exact = False
                break
    if not exact:
        size = source.path.stat().st_size
        share = source.progress.bytes / size
        count, exact = (count, True) if share >= 1 else (round(count / share), False)
    shown = first[:limit]
    examples: list[Row] = []
    skipped: list[tuple[int, str]] = []
    if shape.objective == "sft":
        for number, row in shown:
            try:
                examples.append((number, to_training_row(row, shape)))
            except RowProblemError as problem:
                skipped.append((number, str(problem)))
    columns = dict.fromkeys(str(column) for _, row in shown for column in row)
    return Peek(
        tuple(shown),
        tuple(examples),
        tuple(skipped),
        shape,
        tuple(columns),
        count,
        exact,
        source.unit,
        source.format,
    )


def _shape_of(source: RowSource, where: str, least: int = 0) -> tuple[list[Row], Shape]:
    """The first rows and the shape they show."""
    first = list(islice(source.rows, max(SHAPE_ROWS, least)))
    if not first:
        raise UserError(
            "The dataset file holds no rows.", where, "Choose a file with at least two rows of data."
        )
    return first, recognise([row for _, row in first], where)


def _chain(first: list[Row], rest: Iterator[Row]) -> Iterator[Row]:
    yield from first
    yield from rest


def _list_skipped(skipped: Sequence[tuple[int, str]], unit: str, most: int) -> str:
    shown = ", ".join(f"{unit} {number} ({reason})" for number, reason in skipped[:most])
    return shown + (", ..." if len(skipped) > most else "")
