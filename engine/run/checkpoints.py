"""Finding the checkpoint to go on from: the newest whose files are what was written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

STATE = "trainer_state.json"
SUMS = "SHA256SUMS"
NAME = re.compile(r"checkpoint-(\d+)")
ASIDE = "damaged-"
_THREADS = 4  # hashing releases the interpreter's lock, and checkpoints are a few large files


@dataclass(frozen=True, slots=True)
class Damaged:
    """A checkpoint that cannot be used.

    Attributes:
        step: The step it was written at.
        why: What is wrong with it, for people.
    """

    step: int
    why: str


def step_of(folder: Path) -> int:
    """The step in ``checkpoint-120``; -1 for another name."""
    match = NAME.fullmatch(folder.name)
    return int(match[1]) if match else -1


def finished(checkpoints: Path) -> list[Path]:
    """The checkpoints that have their final name, oldest first. Half-written ones have another name and never count."""
    if not checkpoints.is_dir():
        return []
    found = [path for path in checkpoints.iterdir() if step_of(path) >= 0 and path.is_dir()]
    return sorted(found, key=step_of)


def newest_good(checkpoints: Path) -> tuple[Path | None, list[Damaged]]:
    """The checkpoint to go on from, and the newer ones that were passed over because they are damaged."""
    damaged: list[Damaged] = []
    for folder in reversed(finished(checkpoints)):
        why = damage(folder)
        if why is None:
            return folder, damaged
        damaged.append(Damaged(step_of(folder), why))
    return None, damaged


def seal(folder: Path) -> None:
    """Write the checksums of every file, in the format of ``sha256sum``. Call it last, before the folder gets its final name.

    Raises:
        OSError: A file cannot be read, or the disk is full.
    """
    names = [path.relative_to(folder) for path in sorted(_files(folder)) if path.name != SUMS]
    with ThreadPoolExecutor(_THREADS) as pool:
        sums = list(pool.map(lambda name: _sha256(folder / name), names))
    text = "".join(f"{digest}  {name}\n" for digest, name in zip(sums, names, strict=True))
    (folder / SUMS).write_text(text, encoding="utf-8")


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None when every file is what was written."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return f"its list of checksums ({SUMS}) is missing"
    expected = [(line[:64], line[66:]) for line in lines if len(line) > 66]
    if not any(name == STATE for _, name in expected):
        return f"its list of checksums ({SUMS}) is incomplete"
    # Sizes and names first: they tell most damage without reading gigabytes.
    missing = next((name for _, name in expected if not (folder / name).is_file()), None)
    if missing is not None:
        return f"{missing} is missing"
    with ThreadPoolExecutor(_THREADS) as pool:
        for (digest, name), found in zip(
            expected, pool.map(lambda entry: _digest_or_none(folder / entry[1]), expected), strict=True
        ):
            if found != digest:
                return f"{name} is not what was written"
    return None if _is_state(folder) else f"{STATE} cannot be read"


def put_aside(checkpoints: Path, step: int) -> None:
    """Give a damaged checkpoint a name that nothing takes for a checkpoint; only the latest such one is kept."""
    for old in checkpoints.glob(f"{ASIDE}*"):
        shutil.rmtree(old, ignore_errors=True)
    name = f"checkpoint-{step}"
    os.rename(checkpoints / name, checkpoints / f"{ASIDE}{name}")


def drop_from(checkpoints: Path, step: int) -> list[int]:
    """Remove the checkpoints of this step and later ones.

    Returns:
        Their steps.
    """
    gone = [path for path in finished(checkpoints) if step_of(path) >= step]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return [step_of(path) for path in gone]


def droppable(checkpoints: Path, keep: set[str]) -> Path | None:
    """What may go first when the disk is full: what was put aside, then the oldest checkpoint.

    The newest one always stays, and so does every name in `keep`, such as that of the best.
    """
    aside = next(checkpoints.glob(f"{ASIDE}*"), None)
    if aside is not None:
        return aside
    return next((path for path in finished(checkpoints)[:-1] if path.name not in keep), None)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for path in _files(folder):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def sweep(checkpoints: Path) -> None:
    """Remove what an interrupted save left behind.

    A save of a step that already has a checkpoint moves the old one out of the way first; if it was interrupted in that
    moment, the old one gets its name back.
    """
    if not checkpoints.is_dir():
        return
    for path in checkpoints.iterdir():
        if not path.name.startswith("."):
            continue
        name = path.name.removeprefix(".").removesuffix(".old")
        if path.name.endswith(".old") and not (checkpoints / name).exists():
            os.rename(path, checkpoints / name)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names)


def _sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _digest_or_none(path: Path) -> str | None:
    try:
        return _sha256(path)
    except OSError:
        return None


def _is_state(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / STATE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
