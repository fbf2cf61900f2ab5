"""What a folder holds, for the file browser: quick also where it holds a hundred thousand files."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from engine.data.files import SUFFIXES, TABLE_SUFFIXES
from engine.data.streams import COMPRESSED
from engine.display import gib

MOST_SHOWN = 300
PATIENCE = 1.0  # seconds for reading the names of a folder
HEAD = 1 << 16  # bytes of a file from which its number of rows is guessed
ENDINGS = (*SUFFIXES, *(suffix + packed for suffix in SUFFIXES for packed in COMPRESSED))


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder or a file that may be a dataset.

    Attributes:
        path: Where it is.
        name: Foreign text.
        is_folder: It can be opened.
        size: Bytes of a file.
    """

    path: str
    name: str
    is_folder: bool
    size: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """What is shown of a folder.

    Attributes:
        folder: The folder.
        entries: Folders first, then files, each by name.
        left_out: Usable entries that are not shown because there are too many.
        problem: Why it cannot be read; empty when it can.
    """

    folder: Path
    entries: tuple[Entry, ...]
    left_out: int = 0
    problem: str = ""


def list_folder(folder: Path, hidden: bool = False) -> Listing:
    """The folders and usable files of a folder; never raises.

    Args:
        folder: Where to look.
        hidden: Also what begins with a dot.
    """
    until = time.monotonic() + PATIENCE
    folders: list[os.DirEntry[str]] = []
    files: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number % 1000 == 999 and time.monotonic() > until:
                    break
                if (not hidden and entry.name.startswith(".")) or not _is_text(entry.name):
                    continue
                if _is_folder(entry):
                    folders.append(entry)
                elif entry.name.lower().endswith(ENDINGS):
                    files.append(entry)
    except OSError as error:
        return Listing(folder, (), problem=f"{os.strerror(error.errno or 0)}.")
    folders.sort(key=lambda entry: entry.name.lower())
    files.sort(key=lambda entry: entry.name.lower())
    # Half the room at least is for files, however many folders there are.
    shown_folders = folders[: max(MOST_SHOWN // 2, MOST_SHOWN - len(files))]
    shown = [Entry(entry.path, entry.name, True) for entry in shown_folders]
    for entry in files[: MOST_SHOWN - len(shown)]:
        size = _size(entry)
        if size > 0:
            shown.append(Entry(entry.path, entry.name, False, size))
    return Listing(folder, tuple(shown), max(0, len(folders) + len(files) - MOST_SHOWN))


def guess_rows(path: str, size: int) -> str:
    """About how many rows a file has, such as ``412 rows`` or ``about 31,000 rows``; empty when that cannot be told."""
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".parquet":
            return f"{_parquet_rows(path):,} rows"
        if suffix in (".jsonl", ".ndjson", *TABLE_SUFFIXES):
            return _lines(path, size, header=suffix in TABLE_SUFFIXES)
    except Exception:  # a damaged file: choosing it says what is wrong
        return ""
    return ""


def size_words(num_bytes: int) -> str:
    """Such as ``12 KiB`` or ``1.5 GiB``."""
    if num_bytes < 1024:
        return f"{num_bytes} B"
    return gib(num_bytes) if num_bytes >= 2**20 else f"{num_bytes / 1024:.0f} KiB"


def _lines(path: str, size: int, header: bool) -> str:
    with open(path, "rb") as file:
        head = file.read(HEAD)
    count = head.count(b"\n")
    if len(head) >= size:
        count += bool(head) and not head.endswith(b"\n")
        return _rows(max(0, count - header), "")
    return _rows(round(count * size / len(head)), "about ") if count else ""


def _rows(count: int, about: str) -> str:
    if about and count >= 1000:
        count = round(count, -len(str(count)) + 2)  # two figures: it is a guess
    return f"{about}{count:,} {'row' if count == 1 else 'rows'}"


def _parquet_rows(path: str) -> int:
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows)


def _is_text(name: str) -> bool:
    """The name can be written down: not every file name is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        stat = entry.stat()
    except OSError:
        return 0
    return stat.st_size
