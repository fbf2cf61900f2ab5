"""Open a dataset file of any supported kind, or a folder of them, and read its rows one by one."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.data.arrow_rows import ARROW_MAGIC, STREAM_MAGIC, arrow_items, parquet_items
from engine.data.json_rows import continues, jsonl_items, layout_of, object_items, value_items
from engine.data.reading import Item, Progress, Row, Unit, strict
from engine.data.streams import COMPRESSED, DAMAGED, TextDecoder, compression_of, encoding_of, open_stream
from engine.data.table_rows import csv_items, is_table
from engine.data.text_rows import text_items
from engine.display import printable
from engine.errors import UserError

Format = Literal["jsonl", "json", "csv", "parquet", "arrow", "text", "hub"]
FORMATS = (
    "JSONL (.jsonl), JSON (.json), CSV (.csv), TSV (.tsv), Parquet (.parquet), Arrow (.arrow), or plain text (.txt, .md), "
    "also compressed (.gz, .zst)"
)
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".text")
TABLE_SUFFIXES = (".csv", ".tsv")
COLUMN_SUFFIXES = (".parquet", ".arrow", ".feather")
SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES, *COLUMN_SUFFIXES, *TEXT_SUFFIXES)
"""Endings of dataset files, without that of the compression."""
_OTHER_KINDS = (
    (b"PK\x03\x04", "The file is a zip archive or an Excel workbook", "Unpack it, or save the sheet as CSV UTF-8."),
    (b"\xd0\xcf\x11\xe0", "The file is an old Excel workbook", "Save the sheet as CSV UTF-8."),
    (b"7z\xbc\xaf", "The file is a 7z archive", "Unpack it first."),
    (b"SQLite format 3", "The file is an SQLite database", "Export the table as CSV."),
    (b"%PDF", "The file is a PDF document", "Export its text, for instance with: pdftotext FILE.pdf"),
    (b"version https://git-lfs", "The file is only a pointer to the real one (Git LFS)", "Fetch the real file with: git lfs pull"),
    (b"<!DOCTYPE html", "The file is a web page, not a dataset", "Download the data again, with its direct link."),
    (b"<!doctype html", "The file is a web page, not a dataset", "Download the data again, with its direct link."),
    (b"<html", "The file is a web page, not a dataset", "Download the data again, with its direct link."),
    (b"\x89PNG", "The file is a picture", "Give a file of text."),
    (b"\xff\xd8\xff", "The file is a picture", "Give a file of text."),
)  # fmt: skip
_HEAD = 1 << 16


@dataclass(slots=True)
class RowSource:
    """Dataset files, ready to be read once.

    Attributes:
        path: The file or folder.
        format: Kind of file.
        unit: What the number of each row counts: ``line`` of the file, or ``row``.
        items: The rows with their numbers, and the damage of those that cannot be read; read once.
        progress: How much of the file the rows so far took up, and notes for the user.
        size: Bytes of the file or files.
        num_rows: Number of rows, where the format knows it beforehand.
        parts: For several files: the number before the first of each, its name and what it counts.
    """

    path: Path
    format: Format
    unit: Unit
    items: Iterator[Item]
    progress: Progress
    size: int
    num_rows: int | None = None
    parts: list[tuple[int, str, Unit]] = field(default_factory=list)

    @property
    def rows(self) -> Iterator[Row]:
        """The rows with their numbers; raises `UserError` where one cannot be read."""
        return strict(self.items, self.path, self.place)

    def place(self, number: int) -> str:
        """Where a row is: ``line 17``, or ``b.jsonl, line 17`` in a folder."""
        for before, name, unit in reversed(self.parts):
            if number > before:
                return f"{printable(name, 100)}, {unit} {number - before}"
        return f"{self.unit} {number}"


def open_rows(path: str | Path, split: str | None = None) -> RowSource:
    """Open dataset files; the kind is told by content, and by name where content is ambiguous.

    Args:
        path: A file, or a folder of files of one kind; ``~`` is the home folder.
        split: The part to read where there are several: files or lists named ``train``, ``test`` and so on.

    Raises:
        UserError: Missing, empty, of a kind that is not supported, or a folder of different kinds.
    """
    file = Path(os.path.expanduser(path))  # unlike Path.expanduser, leaves an unknown ~user as it is
    if not str(path).strip():
        raise UserError(
            "There is no such dataset file.", "an empty path", "Give the path of a file or a folder."
        )
    head, compressed = _check(file)
    if head is None:
        from engine.data.folders import open_folder

        return open_folder(file, split)
    progress = Progress()
    suffix = plain_suffix(file)
    size = file.stat().st_size
    if head.startswith(b"PAR1") or suffix == ".parquet":
        num_rows, items = parquet_items(file, compressed)
        return RowSource(file, "parquet", "row", items, progress, size, num_rows)
    if suffix in COLUMN_SUFFIXES or head.startswith((ARROW_MAGIC[:6], STREAM_MAGIC)):
        known, items = arrow_items(file, compressed)
        return RowSource(file, "arrow", "row", items, progress, size, known)
    if suffix in TABLE_SUFFIXES:
        return _lined(file, "csv", csv_items(file, progress, suffix), progress, size)
    if suffix == ".txt" and is_table(_text_of(head), whole=size < _HEAD):
        progress.note(
            "The lines have the same number of fields between tabs, so the text is read as a table."
        )
        return _lined(file, "csv", csv_items(file, progress, ".tsv"), progress, size)
    if suffix in TEXT_SUFFIXES:
        return _lined(file, "text", text_items(file, progress), progress, size)
    start = _text_of(head)
    if suffix in JSON_SUFFIXES or start[:1] in ("{", "["):
        return _open_json(file, start, suffix, progress, size, split)
    raise UserError(
        f"Files of this kind ({printable(suffix, 20) or 'no ending'}) cannot be read as a dataset.",
        printable(file, 300),
        f"Use {FORMATS}.",
    )


def plain_suffix(file: Path) -> str:
    """The ending that tells the kind of file, without that of its compression."""
    suffix = file.suffix.lower()
    return Path(file.stem).suffix.lower() if suffix in COMPRESSED else suffix


def _lined(file: Path, kind: Format, items: Iterator[Item], progress: Progress, size: int) -> RowSource:
    return RowSource(file, kind, "line", _guarded(items, file), progress, size)


def _guarded(items: Iterator[Item], file: Path) -> Iterator[Item]:
    """The items; a damaged compressed file is told in words."""
    number = 0
    try:
        for number, row in items:
            yield number, row
    except (*DAMAGED, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise UserError(
                f"The dataset file cannot be read: {os.strerror(error.errno)}.",
                printable(file, 300),
                "Check the disk.",
            )
        raise UserError(
            "The compressed file is damaged or incomplete.",
            f"{printable(file, 300)}, after line {number}",
            "Download or copy it again.",
        )


def _open_json(
    file: Path, start: str, suffix: str, progress: Progress, size: int, split: str | None
) -> RowSource:
    if start.startswith("["):
        top, _, below = start.partition("\n")
        if not below.strip() or not _is_value(top):  # else each line is a list of its own
            return _lined(file, "json", value_items(file, progress), progress, size)
    first_line, is_last = _first_line(file)
    if start.startswith("{") and (is_last or continues(first_line)):
        layout = layout_of(file)
        if layout == "several":  # objects over several lines, one after the other
            return _lined(file, "json", value_items(file, progress), progress, size)
        if layout == "object" or suffix == ".json":
            items = object_items(file, progress, split)
            progress.counted = size
            unit: Unit = "line" if len(items) == 1 else "row"
            return RowSource(file, "json", unit, iter(items), progress, size, len(items))
    return _lined(file, "jsonl", jsonl_items(file, progress), progress, size)


def _text_of(head: bytes) -> str:
    decoder = TextDecoder(head, Progress())
    return decoder.decode(head[decoder.bom :]).lstrip()


def _first_line(file: Path) -> tuple[str, bool]:
    """The first line that is not blank, however long, and whether nothing follows it."""
    from engine.data.streams import lines

    numbered = lines(file, Progress())
    first = next((text for _, text in numbered if text.strip()), "")
    return first, not any(text.strip() for _, text in numbered)


def _is_value(line: str) -> bool:
    """The line alone is a whole JSON value."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _check(file: Path) -> tuple[bytes | None, bool]:
    """The first bytes of a file, unpacked, and whether it is compressed; None for a folder."""
    where = printable(file, 300)
    try:
        if file.is_dir():
            return None, False
        if not file.exists():
            raise UserError("There is no such dataset file.", where, _similar(file))
        if not file.is_file():
            raise UserError("This is not a regular file.", where, "Copy the data into a file first.")
        with file.open("rb") as raw:
            compressed = compression_of(raw.read(8)) is not None
        with open_stream(file) as stream:
            head = stream.read(_HEAD)
    except PermissionError:
        raise UserError("The dataset file may not be read.", where, "Change its permissions, or copy it.")
    except (*DAMAGED, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise UserError(
                f"The dataset file cannot be read: {os.strerror(error.errno)}.", where, "Check the path."
            )
        if isinstance(error, ValueError) and not isinstance(error, io.UnsupportedOperation):
            raise UserError(
                f"The dataset file cannot be read: {printable(error, 100)}.", where, "Check the path."
            )
        raise UserError("The compressed file is damaged or incomplete.", where, "Download or copy it again.")
    for magic, what, fix in _OTHER_KINDS:
        if head.startswith(magic):
            raise UserError(f"{what}; a dataset must be text.", where, fix)
    encoding, bom = encoding_of(head)
    if len(head) < _HEAD and not head[bom:].decode(encoding, "replace").strip():
        raise UserError("The dataset file is empty.", where, "Choose a file with at least two rows.")
    return head, compressed


def _similar(file: Path) -> str:
    import difflib

    try:
        names = [item.name for item in file.parent.iterdir()]
        if file.is_symlink():
            return "It is a link, and what it points to is gone. Give the file itself."
    except OSError:
        return f"The folder {printable(file.parent, 200)} does not exist either. Check the path."
    close = difflib.get_close_matches(file.name, names, n=1, cutoff=0.6)
    return (
        f"Did you mean {printable(file.parent / close[0], 300)}?"
        if close
        else "Check the path and the spelling."
    )
