"""A folder of dataset files read as one dataset: loose files, a copy of a Hub repository, or what ``save_to_disk`` wrote."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from engine.data.files import FORMATS, SUFFIXES, TEXT_SUFFIXES, RowSource, open_rows, plain_suffix
from engine.data.json_object import TRAIN_NAMES
from engine.data.reading import Item, Progress
from engine.display import printable
from engine.errors import UserError

SPLITS = {
    "train": (*TRAIN_NAMES, "trainset"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation", "held_out"),
    "test": ("test", "testing", "test_sft", "test_prefs", "test_gen"),
}
"""The parts a dataset comes in, and the words in file names that tell them."""
_NOT_DATA = re.compile(
    r"^(readme|license|licence|notice|changelog|citation|contributing|dataset_infos?|dataset_dict|state|package|"
    r"package-lock|config|tokenizer.*|special_tokens_map|generation_config|croissant|metadata)$",
    re.IGNORECASE,
)
# Exports of chat products: files that tell one, and those in it that hold no messages.
_EXPORTS = (
    (
        ("users.json", "channels.json"),
        (
            "users.json",
            "channels.json",
            "integration_logs.json",
            "dms.json",
            "groups.json",
            "mpims.json",
            "canvases.json",
        ),
    ),
    (
        ("conversations.json",),
        (
            "user.json",
            "users.json",
            "projects.json",
            "message_feedback.json",
            "model_comparisons.json",
            "shared_conversations.json",
        ),
    ),
)
_MOST_FILES = 10_000


def open_folder(folder: Path, split: str | None) -> RowSource:
    """Open all dataset files of a folder, one after the other in the order of their names.

    Files whose names tell a split (``train-00000-of-00002.parquet``, ``test.jsonl``) are read only if it is the one
    asked for; without a wish that is ``train``.

    Raises:
        UserError: No dataset file in it, files of different kinds, or no such split.
    """
    where = printable(folder, 300)
    progress = Progress()
    part = _saved(folder, split, progress)
    if part != folder:
        folder, split = part, None
    files = _data_files(folder)
    if not files:
        raise UserError(
            "There is no dataset file in this folder.", where, f"Give a file or a folder of files: {FORMATS}."
        )
    files = _of_split(files, folder, split, progress, where)
    kinds = Counter("text" if plain_suffix(file) in TEXT_SUFFIXES else plain_suffix(file) for file in files)
    if len(kinds) > 1:
        listed = ", ".join(f"{count} {kind.lstrip('.')}" for kind, count in sorted(kinds.items()))
        raise UserError(
            f"The folder mixes files of different kinds ({listed}), which may say different things.",
            where,
            "Give one of the files, or put the files that belong together into a folder of their own, for instance: "
            + printable(files[0], 200),
        )
    return chained(files, folder, split, progress)


def chained(files: list[Path], root: Path, split: str | None, progress: Progress) -> RowSource:
    """Several files of one kind as one source.

    Raises:
        UserError: The first file cannot be opened; the others are opened when their turn comes.
    """
    if len(files) == 1:
        source = open_rows(files[0], split)
        source.progress.notes[:0] = progress.notes
        return source
    first = open_rows(files[0], split)
    size = sum(file.stat().st_size for file in files)
    source = RowSource(root, first.format, "row", iter(()), progress, size)
    source.items = _all_items(first, files, root, source)
    progress.note(
        f"{len(files):,} files are read, from {printable(files[0].name, 80)} to {printable(files[-1].name, 80)}."
    )
    return source


def _all_items(first: RowSource, files: list[Path], root: Path, whole: RowSource) -> Iterator[Item]:
    before = last = done = 0
    for index, file in enumerate(files):
        source = first if index == 0 else open_rows(file)
        name = str(file.relative_to(root)) if file.is_relative_to(root) else file.name
        whole.parts.append((before, name, source.unit))
        for number, row in source.items:
            last = before + number
            whole.progress.counted = done + source.progress.bytes
            yield last, row
        for note in source.progress.notes:
            if source.format != "text":  # how text is cut is said once
                whole.progress.note(f"{printable(name, 80)}: {note}")
            elif index == 0:
                whole.progress.note(note)
        done += source.size
        before = last


def _saved(folder: Path, split: str | None, progress: Progress) -> Path:
    """The folder of one split, where ``DatasetDict.save_to_disk`` wrote several."""
    record = folder / "dataset_dict.json"
    if not record.is_file():
        return folder
    try:
        names = [str(name) for name in json.loads(record.read_text("utf-8"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError):
        names = sorted(item.parent.name for item in folder.glob("*/state.json"))
    chosen = _choose(names, split, printable(folder, 300))
    if split is None and len(names) > 1:
        progress.note(
            f"The folder holds the splits {printable(', '.join(names), 100)}; {printable(chosen, 40)} is read."
        )
    return folder / chosen


def _data_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    beside = next((names for sign, names in _EXPORTS if all((folder / name).is_file() for name in sign)), ())
    for pattern in ("*", "*/*", "*/*/*"):
        for item in sorted(folder.glob(pattern)):
            hidden = any(part.startswith((".", "cache-")) for part in item.relative_to(folder).parts)
            if hidden or plain_suffix(item) not in SUFFIXES or _NOT_DATA.match(item.name.split(".")[0]):
                continue
            if item.name in beside:
                continue
            if item.is_file() and item.stat().st_size and len(found) < _MOST_FILES:
                found.append(item)
        if found and not any(split_of(file, folder) for file in found):
            break  # loose files: what lies deeper is something else
    return sorted(found)


def _of_split(
    files: list[Path], folder: Path, split: str | None, progress: Progress, where: str
) -> list[Path]:
    told = {file: split_of(file, folder) for file in files}
    names = list(dict.fromkeys(name for name in told.values() if name))
    if split is None and len(names) < 2 and not (names and None in told.values()):
        return files
    if not names:
        raise UserError(
            f"No file of the folder is named after the split {printable(split, 40)}.",
            where,
            "Name the files after their splits (train.jsonl, test.jsonl), or leave split out.",
        )
    chosen = _choose(names, split, where)
    if split is None:
        progress.note(f"The folder holds the splits {', '.join(names)}; {chosen} is read.")
    return [file for file, name in told.items() if name == chosen]


def split_of(file: Path, root: Path) -> str | None:
    """The split a file's name or folder tells, such as ``train``; the exact word where it is longer (``train_sft``)."""
    parts = file.relative_to(root).parts if file.is_relative_to(root) else (file.name,)
    for part in reversed(parts):
        words = [word for word in re.split(r"[^a-z0-9]+", part.split(".")[0].lower()) if word]
        pairs = [f"{a}_{b}" for a, b in pairwise(words)]
        for name, synonyms in SPLITS.items():
            exact = next((pair for pair in pairs if pair in synonyms), None)
            if exact:
                return exact
            if any(word in synonyms for word in words):
                return name
    return None


def _choose(names: list[str], split: str | None, where: str) -> str:
    if split is not None:
        wanted = next((name for name, words in SPLITS.items() if split.lower() in words), split)
        for name in (split, wanted):
            if name in names:
                return name
    else:
        for name in (*TRAIN_NAMES, *names[: len(names) == 1]):
            if name in names:
                return name
    what = f"There is no split {printable(split, 40)}" if split else "None of the splits is called train"
    raise UserError(
        f"{what}; there are: {printable(', '.join(names), 150)}.",
        where,
        "Name one of them as split in run.yaml.",
    )
