"""Rows from tables written as text: CSV and TSV, with the habits of spreadsheets."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from engine.data.reading import Damage, Item, Progress
from engine.data.streams import lines
from engine.display import printable

LONGEST_CELL = 32 * 2**20
"""Characters. A quote that is never closed makes one cell of the rest of the file; this is where it is given up."""
_DELIMITERS = ",;\t|"
_ONE_COLUMN = "\x1f"  # a separator that no text contains
_SNIFFED_LINES = 20
_QUOTES = 'A text that contains a quote or the separator must be in quotes, with inner quotes doubled: "say ""hi""".'


def csv_items(path: Path, progress: Progress, suffix: str) -> Iterator[Item]:
    """Rows of a CSV or TSV file. Streams.

    The separator is the one of ``, ; tab |`` that cuts the first lines into the same number of fields. The first line
    names the columns; where it looks like a row, the columns are called ``column 1``, ``column 2`` and so on.
    """
    csv.field_size_limit(LONGEST_CELL)
    numbered = lines(path, progress)
    start = list(islice(numbered, _SNIFFED_LINES))
    while start and not start[0][1].strip():
        start.pop(0)
    if not start:
        return
    delimiter = None
    if match := re.fullmatch(r"\"?sep=(.)\"?\s*", start[0][1], re.IGNORECASE):  # Excel's own hint
        delimiter = match[1]
        start.pop(0)
    if delimiter is None:
        delimiter = _delimiter([text for _, text in start], suffix)
    before = start[0][0] - 1 if start else 0

    def feed() -> Iterator[str]:
        for _, text in start:
            yield text
        for _, text in numbered:
            yield text

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
    except StopIteration:
        return
    except csv.Error as error:
        yield before + 1, _not_csv(error)
        return
    if is_row := _looks_like_a_row(header):
        progress.note("The first line looks like a row, not like names of columns; it is read as a row.")
    names = _names([""] * len(header) if is_row else header)
    if is_row:
        yield before + 1, dict(zip(names, header, strict=True))
    width = len(names)
    while True:
        line = before + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, _not_csv(error)
            continue
        if len(fields) == width:
            yield line, dict(zip(names, fields, strict=True))
        elif fields:
            while len(fields) > width and not fields[-1].strip():  # spreadsheets fill up with empty cells
                fields.pop()
            if len(fields) == width:
                yield line, dict(zip(names, fields, strict=True))
            else:
                yield line, _wrong_fields(len(fields), width)


def is_table(head: str, whole: bool) -> bool:
    """The beginning of a text file is a table with tabs, such as Excel's "Unicode text".

    Args:
        head: The beginning of the text.
        whole: It is all of it, not cut off somewhere.
    """
    start = head.splitlines()[: _SNIFFED_LINES if whole else -1][:_SNIFFED_LINES]
    while start and not start[-1].strip():
        start.pop()
    try:
        widths = {len(fields) for fields in csv.reader(start, delimiter="\t")}
    except csv.Error:
        return False
    return len(start) >= 3 and len(widths) == 1 and min(widths) >= 2 and all(start[0].split("\t"))


def _delimiter(first_lines: list[str], suffix: str) -> str:
    best, score = _ONE_COLUMN, (0.0, 0)
    for delimiter in "\t" if suffix == ".tsv" else _DELIMITERS:
        try:
            widths = [len(fields) for fields in csv.reader(first_lines, delimiter=delimiter) if fields]
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        same = sum(width == widths[0] for width in widths) / len(widths)
        if (same, widths[0]) > score:
            best, score = delimiter, (same, widths[0])
    return best


def _looks_like_a_row(header: list[str]) -> bool:
    """Whole sentences in every cell are no names of columns."""
    sentences = [cell for cell in header if len(cell.split()) >= 3 and re.search(r"[.?!。？！]\s*$", cell)]
    return bool(sentences) and (len(sentences) == len(header) or max(len(cell) for cell in header) > 60)


def _names(header: list[str]) -> list[str]:
    """Names of the columns, none empty and no two the same."""
    names: dict[str, None] = {}
    for number, cell in enumerate(header, 1):
        name = cell.strip() or f"column {number}"
        while name in names:
            name = f"{name} (column {number})"
        names[name] = None
    return list(names)


def _not_csv(error: csv.Error) -> Damage:
    words = {
        "unexpected end of data": "a quote is opened here and never closed",
        f"field larger than field limit ({LONGEST_CELL})": "a quote is opened here and not closed for a long way",
    }.get(str(error), printable(error, 100))
    return Damage(f"is not valid CSV: {words}", _QUOTES)


def _wrong_fields(found: int, expected: int) -> Damage:
    return Damage(
        f"has {found} fields, but the first line names {expected} columns",
        "A text that contains the separator or a line break must be in double quotes.",
    )
