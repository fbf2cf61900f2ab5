"""Open a dataset file of any supported kind and read its rows one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.data.json_rows import array_rows, is_whole_object, jsonl_rows, object_rows
from engine.data.reading import Progress, Row
from engine.data.table_rows import csv_rows, parquet_rows, text_rows
from engine.display import printable
from engine.errors import UserError

FORMATS = (
    "JSONL (.jsonl), JSON (.json), CSV (.csv), TSV (.tsv), Parquet (.parquet), or plain text (.txt, .md)"
)
_JSON = (".jsonl", ".ndjson", ".json")
_TEXT = (".txt", ".md", ".markdown")
_MAGIC = (
    (b"\xff\xfe", "The file is UTF-16 text", "Save it again as UTF-8, the usual encoding of text files."),
    (b"\xfe\xff", "The file is UTF-16 text", "Save it again as UTF-8, the usual encoding of text files."),
    (b"\x1f\x8b", "The file is compressed with gzip", "Unpack it first: gunzip FILE"),
    (b"PK\x03\x04", "The file is a zip archive or an Excel workbook", "Unpack it, or save the sheet as CSV UTF-8."),
    (b"BZh", "The file is compressed with bzip2", "Unpack it first: bunzip2 FILE"),
    (b"\xfd7zXZ", "The file is compressed with xz", "Unpack it first: unxz FILE"),
    (b"\x28\xb5\x2f\xfd", "The file is compressed with zstd", "Unpack it first: unzstd FILE"),
    (b"SQLite format 3", "The file is an SQLite database", "Export the table as CSV."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RowSource:
    """A dataset file, ready to be read once.

    Attributes:
        path: The file.
        format: ``jsonl``, ``json``, ``csv``, ``parquet`` or ``text``.
        unit: What the number of each row counts: ``line`` of the file, or ``row``.
        rows: The rows with their numbers; raises `UserError` where one cannot be read.
        progress: How much of the file the rows so far took up.
        num_rows: Number of rows, where the format knows it beforehand.
    """

    path: Path
    format: Literal["jsonl", "json", "csv", "parquet", "text"]
    unit: Literal["line", "row"]
    rows: Iterator[Row]
    progress: Progress
    num_rows: int | None = None


def open_rows(path: str | Path) -> RowSource:
    """Open a dataset file; its kind is told by its content, and by its name where content is ambiguous.

    Args:
        path: The file; ``~`` is the home folder.

    Raises:
        UserError: Missing, a folder, empty, or of a kind that is not supported.
    """
    file = Path(os.path.expanduser(path))  # unlike Path.expanduser, leaves an unknown ~user as it is
    head = _check(file)
    progress = Progress()
    suffix = file.suffix.lower()
    if head.startswith(b"PAR1") or suffix == ".parquet":
        num_rows, rows = parquet_rows(file)
        return RowSource(file, "parquet", "row", rows, progress, num_rows)
    if suffix in (".csv", ".tsv"):
        return RowSource(file, "csv", "line", csv_rows(file, progress), progress)
    if suffix in _TEXT:
        return RowSource(file, "text", "line", text_rows(file, progress), progress)
    if suffix in _JSON or head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return _open_json(file, head, progress)
    raise UserError(
        f"Files of this kind ({printable(suffix, 20) or 'no ending'}) cannot be read as a dataset.",
        printable(file, 300),
        f"Use {FORMATS}.",
    )


def _open_json(file: Path, head: bytes, progress: Progress) -> RowSource:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        top, _, below = start.partition(b"\n")
        if not below.strip() or not _is_value(top):  # else each line is a list of its own
            return RowSource(file, "json", "line", array_rows(file, progress), progress)
    first_line, is_last = _first_line(file)
    one_object = start.startswith(b"{") and (is_last or not _is_value(first_line))
    if one_object and (file.suffix.lower() == ".json" or is_whole_object(file)):
        rows = object_rows(file)
        progress.bytes = file.stat().st_size
        unit: Literal["line", "row"] = "line" if len(rows) == 1 else "row"
        return RowSource(file, "json", unit, iter(rows), progress, len(rows))
    return RowSource(file, "jsonl", "line", jsonl_rows(file, progress), progress)


def _first_line(file: Path) -> tuple[bytes, bool]:
    """The first line that is not blank, however long, and whether nothing follows it."""
    with file.open("rb") as stream:
        first = next((line for line in stream if line.removeprefix(b"\xef\xbb\xbf").strip()), b"")
        return first.removeprefix(b"\xef\xbb\xbf"), not any(line.strip() for line in stream)


def _is_value(line: bytes) -> bool:
    """The line alone is a whole JSON value."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


_HEAD = 1 << 16


def _check(file: Path) -> bytes:
    """The first bytes of a regular file that is not empty."""
    where = printable(file, 300)
    try:
        if file.is_dir():
            raise UserError("This is a folder; the dataset must be a file.", where, _files_inside(file))
        if not file.exists():
            raise UserError("There is no such dataset file.", where, _similar(file))
        if not file.is_file():
            raise UserError("This is not a regular file.", where, "Copy the data into a file first.")
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
    except PermissionError:
        raise UserError("The dataset file may not be read.", where, "Change its permissions, or copy it.")
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UserError(f"The dataset file cannot be read: {reason}.", where, "Check the path.")
    for magic, what, fix in _MAGIC:
        if head.startswith(magic):
            raise UserError(f"{what}; a dataset must be plain.", where, fix)
    if not head.removeprefix(b"\xef\xbb\xbf").strip() and len(head) < _HEAD:
        raise UserError("The dataset file is empty.", where, "Choose a file with at least two rows.")
    return head


def _files_inside(folder: Path) -> str:
    endings = (*_JSON, *_TEXT, ".csv", ".tsv", ".parquet")
    try:
        names = sorted(
            item.name for item in folder.iterdir() if item.suffix.lower() in endings and item.is_file()
        )
    except OSError:
        names = []
    if not names:
        return f"Give a file: {FORMATS}."
    return "Give one of the files in it: " + printable(
        ", ".join(names[:5]) + (", ..." if len(names) > 5 else ""), 300
    )


def _similar(file: Path) -> str:
    import difflib

    try:
        names = [item.name for item in file.parent.iterdir() if item.is_file()]
    except OSError:
        return f"The folder {printable(file.parent, 200)} does not exist either. Check the path."
    close = difflib.get_close_matches(file.name, names, n=1, cutoff=0.6)
    return (
        f"Did you mean {printable(file.parent / close[0], 300)}?"
        if close
        else "Check the path and the spelling."
    )
