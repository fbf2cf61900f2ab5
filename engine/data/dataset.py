"""Open a dataset, load it into training examples, or take a quick look."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from engine.data.cells import RowProblemError
from engine.data.files import RowSource
from engine.data.forms import Form, Objective
from engine.data.reading import Damage, Item, Row, Unit
from engine.data.recognise import Reading, recognise
from engine.data.sources import Spec, open_source, spec_of
from engine.display import printable
from engine.errors import UserError

SHAPE_ROWS = 100
"""The shape is told from this many rows."""
PEEK_BYTES = 1_000_000
"""How much of a file a quick look reads to estimate the number of rows."""


@dataclass(frozen=True, slots=True)
class Example:
    """A training example and where it comes from."""

    number: int
    form: Form


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used.

    Attributes:
        number: Its line or row number.
        field: The column or turn it is about; may be empty.
        problem: What is wrong, a short phrase such as ``empty answer``.
        fix: What to do about it; may be empty.
        unreadable: The row could not even be read.
    """

    number: int
    field: str
    problem: str
    fix: str = ""
    unreadable: bool = False


class Dataset:
    """A dataset that is open: how it is read, and its rows, once.

    Attributes:
        spec: Where it comes from.
        source: The open files; `RowSource.place` says where a numbered row is.
        reading: How the rows are read.
        first: The rows the shape was told from.
    """

    def __init__(
        self,
        spec: Spec | str | Path,
        objective: Objective | None = None,
        check: bool = True,
        least: int = SHAPE_ROWS,
    ) -> None:
        """Open a dataset and recognise it.

        Args:
            spec: What to read; a plain path may end in ``#N``.
            objective: What it is wanted for; None takes the most natural reading.
            check: Stop at rows that cannot be read; otherwise they are problems like others.
            least: How many rows to look at, at least.

        Raises:
            UserError: It cannot be read, holds no rows, or does not suit the objective.
        """
        self.spec = spec if isinstance(spec, Spec) else spec_of(spec)
        self.where = printable(self.spec.path, 300)
        self.source: RowSource = open_source(self.spec)
        self._check = check
        head = list(islice(self.source.items, max(SHAPE_ROWS, least)))
        self._head: list[Item] = head
        rows = [row for _, row in head if isinstance(row, dict)]
        if check or not rows:
            for number, row in head:
                if isinstance(row, Damage):
                    raise row.error(self.source.path, self.source.place(number))
        if not rows:
            raise UserError(
                "The dataset file holds no rows.", self.where, "Choose a file with at least two rows of data."
            )
        self.first: list[Row] = [(number, row) for number, row in head if isinstance(row, dict)]
        self.reading: Reading = recognise(
            rows, self.where, objective, self.spec.mapping or None, self.spec.format
        )

    @property
    def notes(self) -> list[str]:
        """Sentences about how the files were read."""
        return self.source.progress.notes

    def items(self) -> Iterator[Example | Problem]:
        """Every row as an example or a problem, in the order of the files; streams.

        Raises:
            UserError: The files are damaged beyond a row, or, with `check`, a row cannot be read.
        """
        forms = self.reading.forms
        for number, row in self.reading.gather(chain(self._head, self.source.items)):
            if isinstance(row, Damage):
                if self._check:
                    raise row.error(self.source.path, self.source.place(number))
                yield Problem(number, "", row.problem, row.fix, unreadable=True)
                continue
            try:
                for form in forms(row):
                    yield Example(number, form)
            except RowProblemError as problem:
                yield Problem(number, problem.field, str(problem), problem.fix)


@dataclass(frozen=True, slots=True)
class LoadedData:
    """A dataset in memory.

    Attributes:
        rows: Usable rows, as TRL's trainers take them: ``{"messages": [...]}``, ``{"text": ...}``,
            ``{"prompt", "chosen", "rejected"}`` and so on.
        numbers: The line (or row number) of each usable row in the file.
        reading: How the columns were read.
        total: Rows in the file, or drawn from it.
        usable: Rows that can be trained on.
        skipped: Line (or row number) and reason of each row that cannot.
        unit: What the numbers count: ``line`` or ``row``.
        notes: Sentences about how the files were read.
        place: Where a numbered row is, such as ``line 17``.
    """

    rows: list[dict[str, Any]]
    numbers: list[int]
    reading: Reading
    total: int
    usable: int
    skipped: tuple[tuple[int, str], ...]
    unit: Unit
    notes: tuple[str, ...]
    place: Callable[[int], str]

    def summary(self, most: int = 3) -> str:
        """Such as ``412 of 415 rows usable; 3 skipped: line 17 (empty answer), ...``."""
        text = f"{self.usable:,} of {self.total:,} rows usable"
        if not self.skipped:
            return text
        return f"{text}; {len(self.skipped):,} skipped: {_list_skipped(self.skipped, self.place, most)}"


@dataclass(frozen=True, slots=True)
class Peek:
    """The beginning of a dataset.

    Attributes:
        rows: The first rows as they are in the file, with their numbers.
        examples: Those of them that can be used, in training form, with their numbers.
        skipped: Number and reason of those that cannot.
        reading: How the columns are read; it may be for an objective other than the one in mind.
        columns: Names of the columns, in order.
        num_rows: Rows in the file.
        exact: ``num_rows`` was counted, not estimated from the file's size.
        unit: What the numbers count: ``line`` or ``row``.
        format: Kind of file.
        size: Bytes of the file or files.
        notes: Sentences about how the files were read.
        place: Where a numbered row is, such as ``line 17``.
    """

    rows: tuple[Row, ...]
    examples: tuple[Row, ...]
    skipped: tuple[tuple[int, str], ...]
    reading: Reading
    columns: tuple[str, ...]
    num_rows: int
    exact: bool
    unit: Unit
    format: str
    size: int
    notes: tuple[str, ...]
    place: Callable[[int], str]


def load_rows(spec: str | Path | Spec, objective: Objective = "sft", seed: int = 42) -> LoadedData:
    """Read a whole dataset, or the sample its spec asks for.

    Args:
        spec: A file, a folder or a Hub dataset; a plain path may end in ``#N``.
        objective: What it is wanted for.
        seed: For the sample.

    Raises:
        UserError: It cannot be read, is broken at some line, does not suit the objective, or has nothing to train on.
    """
    data = Dataset(spec, objective)
    kept: list[tuple[int, dict[str, Any]]] = []
    skipped: list[tuple[int, str]] = []
    draw = random.Random(seed)
    wanted, seen = data.spec.sample, 0
    for item in data.items():
        if isinstance(item, Problem):
            skipped.append((item.number, item.problem))
            continue
        seen += 1
        if wanted is None or len(kept) < wanted:
            kept.append((item.number, item.form.row()))
        elif (
            place := draw.randrange(seen)
        ) < wanted:  # reservoir sampling: every row is equally likely to stay
            kept[place] = (item.number, item.form.row())
    if wanted is not None:
        kept.sort(key=lambda pair: pair[0])
    place_of = data.source.place
    if not kept:
        raise UserError(
            f"None of the {len(skipped):,} rows can be used: {_list_skipped(tuple(skipped), place_of, 3)}.",
            data.where,
            f"The file was read as {data.reading.title}; each row needs something to answer and an answer."
            if data.reading.shape != "text"
            else "Each row needs a text that is not empty.",
        )
    numbers, rows = [number for number, _ in kept], [row for _, row in kept]
    return LoadedData(
        rows,
        numbers,
        data.reading,
        len(rows) + len(skipped),
        len(rows),
        tuple(skipped),
        data.source.unit,
        tuple(data.notes),
        place_of,
    )


def peek(spec: str | Path | Spec, limit: int = 20, objective: Objective | None = "sft") -> Peek:
    """A quick look at the beginning of a dataset, fast also where it is large.

    Args:
        spec: The dataset.
        limit: How many rows to return.
        objective: What it is wanted for; readings that serve it are preferred, others are returned, not refused.

    Raises:
        UserError: As `load_rows`, but only for what is wrong in the part that is read.
    """
    data = Dataset(spec, None, least=limit)
    reading = data.reading
    if objective is not None:
        with suppress(UserError):  # for another objective: shown as it is, for the screen to explain
            reading = recognise(
                [row for _, row in data.first],
                data.where,
                objective,
                data.spec.mapping or None,
                data.spec.format,
            )
    count, exact = _count(data)
    if data.spec.sample is not None:
        count = min(count, data.spec.sample)
    shown = data.first[:limit]
    examples: list[Row] = []
    skipped: list[tuple[int, str]] = []
    for number, row in reading.gather(iter(list[Item](shown))):
        try:
            if isinstance(row, dict):
                examples += [(number, form.row()) for form in reading.forms(row)]
        except RowProblemError as problem:
            skipped.append((number, str(problem)))
    columns = dict.fromkeys(str(column) for _, row in shown for column in row)
    source = data.source
    return Peek(
        tuple(shown),
        tuple(examples),
        tuple(skipped),
        reading,
        tuple(columns),
        count,
        exact,
        source.unit,
        source.format,
        source.size,
        tuple(data.notes),
        source.place,
    )


def _count(data: Dataset) -> tuple[int, bool]:
    """Rows in the files, and whether they were counted, not estimated."""
    source, count = data.source, len(data.first)
    if source.num_rows is not None:
        return source.num_rows, True
    for _ in source.rows:
        count += 1
        if source.progress.bytes >= PEEK_BYTES:
            share = source.progress.bytes / max(1, source.size)
            return (count, True) if share >= 1 else (round(count / share), False)
    return count, True


def _list_skipped(skipped: Sequence[tuple[int, str]], place: Callable[[int], str], most: int) -> str:
    shown = ", ".join(f"{place(number)} ({reason})" for number, reason in skipped[:most])
    return shown + (", ..." if len(skipped) > most else "")
