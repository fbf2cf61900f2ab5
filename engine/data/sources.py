"""Where rows come from: files, folders and Hub datasets, with ``#N`` for a sample."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.display import printable
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.data.files import RowSource

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_ADDRESS = re.compile(r"hf://datasets/|hub:|modelscope:|https?://[^/]+/datasets/")
_FILE_SUFFIXES = set(
    ".jsonl .ndjson .json .csv .tsv .parquet .arrow .feather .txt .md .gz .zst .bz2 .xz".split()
)
_SAMPLE = re.compile(r"#(\d[\d_]*)$")


@dataclass(frozen=True, slots=True)
class Spec:
    """One source of rows.

    Attributes:
        path: A file, a folder, or the id of a Hub dataset, such as ``trl-lib/tldr``.
        config: Of a Hub dataset that comes in several: which one.
        split: Part to read, such as ``train``.
        revision: Branch, tag or commit of a Hub dataset.
        sample: How many rows to take, drawn at random; None for all.
        weight: How often each row is used; 0.5 uses half of them, 2 uses each twice.
        mapping: Role to column, given by hand.
        format: How rows are read, given by hand.
    """

    path: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    sample: int | None = None
    weight: float = 1.0
    mapping: dict[str, str] = field(default_factory=dict)
    format: str | None = None

    @property
    def name(self) -> str:
        """Short name for messages."""
        return printable(Path(self.path).name, 80)


def spec_of(text: str | Path) -> Spec:
    """A source written as one word: ``data.jsonl``, ``data.jsonl#1000``, ``org/name:config@split#1000``."""
    path, sample = split_sample(str(text))
    if not is_hub_id(path):
        return Spec(path, sample=sample)
    path, _, split = path.partition("@")
    name, mark, config = path.rpartition(":")
    if not mark or not is_hub_id(name):
        name, config = path, ""
    return Spec(name, config=config or None, split=split or None, sample=sample)


def parse_mapping(text: str) -> dict[str, str]:
    """``prompt=Frage,completion=Antwort`` as a dictionary.

    Raises:
        ValueError: Not of this form.
    """
    pairs: dict[str, str] = {}
    for part in text.split(","):
        role, mark, column = part.partition("=")
        if not mark or not role.strip() or not column.strip():
            raise ValueError("write it as role=column,role=column, such as prompt=Question,completion=Answer")
        pairs[role.strip()] = column.strip()
    return pairs


def split_sample(text: str) -> tuple[str, int | None]:
    """The path and the number behind ``#``; a file whose name ends so is a file."""
    match = _SAMPLE.search(text)
    if match is None or os.path.lexists(os.path.expanduser(text)):
        return text, None
    return text[: match.start()], int(match[1])


def is_hub_id(path: str) -> bool:
    """The path is the id of a Hub dataset: ``org/name``, and there is no such file or folder here."""
    if _ADDRESS.match(path):
        return True
    bare = path.partition("@")[0].partition(":")[0]
    if not _HUB_ID.fullmatch(bare) or path.startswith("."):
        return False
    return Path(bare).suffix.lower() not in _FILE_SUFFIXES and not os.path.lexists(bare.split("/")[0])


def open_source(spec: Spec) -> RowSource:
    """Open a source.

    Raises:
        UserError: It cannot be read, or cannot be fetched from the Hub.
    """
    from engine.data.files import open_rows  # the readers are not needed to write or check a run.yaml
    from engine.data.folders import chained
    from engine.data.reading import Progress

    if not is_hub_id(spec.path):
        return open_rows(spec.path, spec.split)
    files = hub_files(spec)
    progress = Progress()
    root = Path(os.path.commonpath([str(file.parent) for file in files]))
    return chained(files, root, None, progress)


def hub_files(spec: Spec) -> list[Path]:
    """The files of a Hub dataset on this machine, fetched if need be.

    Raises:
        UserError: It does not exist, may not be read, or cannot be fetched.
    """
    try:
        from engine.hub import datasets
    except ImportError:
        raise UserError(
            "Datasets of the Hub cannot be fetched by this installation.",
            printable(spec.path, 100),
            "Download the files, and give their folder.",
        )
    files = [Path(file) for file in datasets.files(spec.path, spec.config, spec.split, spec.revision)]
    if not files:
        raise UserError(
            "The Hub dataset has no files that can be read.", printable(spec.path, 100), "Choose another."
        )
    return files


def fingerprint(spec: Spec) -> dict[str, str]:
    """What tells whether the data are still the same: a checksum of each file, by path.

    Raises:
        UserError: A file cannot be read.
    """
    if is_hub_id(spec.path):
        files = hub_files(spec)
    else:
        path = Path(os.path.expanduser(spec.path))
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    sums: dict[str, str] = {}
    for file in files:
        try:
            with file.open("rb") as handle:
                sums[str(file)] = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise UserError(
                f"The dataset file cannot be read: {error.strerror}.", printable(file, 300), "Check the path."
            )
    return sums
