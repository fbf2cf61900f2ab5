"""Rows from tables (CSV, TSV, Parquet) and from plain text."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from engine.data.reading import Progress, Row, lines
from engine.display import printable
from engine.errors import UserError

TEXT_ROW_CHARS = 2000
"""Plain text is cut into rows of about this many characters (about 500 tokens), between paragraphs where possible."""


def csv_rows(path: Path, progress: Progress) -> Iterator[Row]:
    """Rows of a CSV or TSV file; the first line names the columns. Streams.

    The separator is a tab in ``.tsv`` files, else whichever of ``, ; tab |`` the first line has most of.

    Raises:
        UserError: No header, a row with another number of fields, or quotes that do not close.
    """
    csv.field_size_limit(sys.maxsize)
    numbered = lines(path, progress)
    try:
        first_number, first = next(numbered)
    except StopIteration:
        return
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)

    def feed() -> Iterator[str]:
        yield first
        for _, text in numbered:
            yield text

    reader = csv.reader(feed(), delimiter=separator, strict=True)
    line = first_number
    try:
        header = [name.strip() for name in next(reader)]
        _check_header(header, path)
        line = reader.line_num + 1
        for fields in reader:
            if fields:
                if len(fields) != len(header):
                    _wrong_fields(path, line, len(fields), len(header))
                yield line, dict(zip(header, fields, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"The row that starts in line {line} is not valid CSV: {error}.",
            f"{printable(path, 300)}, line {line}",
            'A text that contains a quote or the separator must be in quotes, with inner quotes doubled: "say ""hi""".',
        )


def parquet_rows(path: Path) -> tuple[int, Iterator[Row]]:
    """Number of rows and the rows of a Parquet file. Streams in batches.

    Raises:
        UserError: Not a Parquet file, or pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            "Reading Parquet files needs the pyarrow package, which is not installed.",
            printable(path, 300),
            "Install the training extra (pip install 'finetui[train]'), or save the dataset as JSONL.",
        )
    try:
        file = parquet.ParquetFile(path)
    except (ArrowException, OSError, ValueError):
        _bad_parquet(path)

    def rows() -> Iterator[Row]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, dict(row)
        except (ArrowException, OSError, ValueError):
            _bad_parquet(path, number + 1)

    return int(file.metadata.num_rows), rows()


def text_rows(path: Path, progress: Progress) -> Iterator[Row]:
    """A ``.txt`` or ``.md`` file as ``{"text": ...}`` rows of whole paragraphs, about `TEXT_ROW_CHARS` long. Streams.

    Paragraphs end at blank lines. A longer paragraph is cut after a line, or after a word where a line is too long.
    """
    block: list[str] = []
    start = length = 0
    for number, text in lines(path, progress):
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
    while len(line) > TEXT_ROW_CHARS:
        cut = line.rfind(" ", TEXT_ROW_CHARS // 2, TEXT_ROW_CHARS) + 1 or TEXT_ROW_CHARS
        yield line[:cut].rstrip()
        line = line[cut:]
    yield line


def _text_row(start: int, block: list[str]) -> Iterator[Row]:
    blank = next((i for i, piece in enumerate(block) if piece.strip()), len(block))
    text = "\n".join(block[blank:]).rstrip()
    if text:
        yield start + blank, {"text": text}


def _check_header(header: list[str], path: Path) -> None:
    where = f"{printable(path, 300)}, line 1"
    if any(not name for name in header):
        raise UserError(
            "A column in the first line has no name.",
            where,
            "The first line must name every column, such as: question,answer",
        )
    double = {name for name in header if header.count(name) > 1}
    if double:
        raise UserError(
            f"Two columns have the same name: {printable(', '.join(sorted(double)), 100)}.",
            where,
            "Rename one of them.",
        )


def _wrong_fields(path: Path, line: int, found: int, expected: int) -> NoReturn:
    raise UserError(
        f"The row that starts in line {line} has {found} fields, but the first line names {expected} columns.",
        f"{printable(path, 300)}, line {line}",
        "A text that contains the separator or a line break must be in double quotes.",
    )


def _bad_parquet(path: Path, row: int | None = None) -> NoReturn:
    where: Any = printable(path, 300)
    raise UserError(
        "The file is not a readable Parquet file; it may be damaged or incomplete.",
        where if row is None else f"{where}, row {row}",
        "Download or export it again.",
    )
