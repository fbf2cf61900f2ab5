"""What the wizard knows of a dataset file, read once in the background and kept while the wizard is open."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.dataset import LoadedData, Peek, load_rows, peek
from engine.data.shapes import require_sft
from engine.display import printable

WHOLE_BELOW = 64 * 2**20  # bytes; a larger file is read to its end by the trainer only
ROWS_SHOWN = 200  # rows to page through in a file that is not read whole
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
NOT_DATA = (
    "package",
    "package-lock",
    "tsconfig",
    "config",
    "tokenizer",
    "tokenizer_config",
    "composer",
    "manifest",
)
MOST_FOLDERS, MOST_FILES = 40, 40


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """A dataset that can be trained on.

    Attributes:
        path: The file.
        first: A look at its beginning.
        loaded: All of it; None for a file too large to read here.
    """

    path: str
    first: Peek
    loaded: LoadedData | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Usable rows to look at, in training form."""
        return self.loaded.rows if self.loaded else [row for _, row in self.first.examples]

    @property
    def numbers(self) -> list[int]:
        """The line (or row number) of each of `rows` in the file."""
        return self.loaded.numbers if self.loaded else [number for number, _ in self.first.examples]

    @property
    def num_rows(self) -> int:
        """Usable rows; estimated for a large file."""
        return self.loaded.usable if self.loaded else self.first.num_rows

    def words(self) -> str:
        """Shape and number of rows in one sentence."""
        if self.loaded:
            return f"{_capital(self.first.shape.title)}: {self.loaded.summary()}."
        about = "" if self.first.exact else "about "
        return f"{_capital(self.first.shape.title)}: {about}{self.first.num_rows:,} rows."


def read_dataset(path: str) -> DatasetReport:
    """Read a dataset, all of it unless it is large.

    Raises:
        UserError: It cannot be read, or cannot be trained on.
    """
    first = peek(path, ROWS_SHOWN)
    require_sft(first.shape, printable(path, 300))
    small = Path(path).expanduser().stat().st_size <= WHOLE_BELOW
    return DatasetReport(path, first, load_rows(path) if small else None)


def find_datasets(folder: Path) -> list[Path]:
    """Files that look like datasets, in a folder and the folders directly below it."""
    found: list[Path] = []
    folders = [folder]
    for place in folders:
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or len(found) >= MOST_FILES:
                continue
            path = Path(entry.path)
            if path.suffix.lower() in SUFFIXES and path.stem.lower() not in NOT_DATA and _is_file(entry):
                found.append(path)
            elif place == folder and len(folders) < MOST_FOLDERS and _is_folder(entry):
                folders.append(path)
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and entry.stat().st_size > 0
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
