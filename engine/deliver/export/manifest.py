"""export.json: what an export holds, where it comes from, and whether it was proved. Written last, so it marks a whole export."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.deliver.export.job import Job
from engine.deliver.export.places import elsewhere
from engine.display import printable
from engine.errors import UserError
from engine.run import atomic
from engine.run.checkpoints import SUMS
from engine.run.layout import RunDir

FILE = "export.json"
VERSION = 1
_CHUNK = 8 << 20  # bytes that are hashed at once
_WEIGHTS = ("*.safetensors",)


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of an export.

    Attributes:
        path: Below the export's folder, with ``/``.
        bytes: Its size.
        sha256: Its checksum.
    """

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Export:
    """A finished export.

    Attributes:
        folder: Where it lies; not part of the file, so that an export may be moved.
        target: Which form.
        run: Name of the run.
        objective: What the run learnt, such as ``sft``.
        model: The base model's name as in run.yaml.
        trained_from: ``result`` or ``checkpoint-40``.
        trained_sha256: Checksum of the trained weights it was made from.
        made_at: UTC, ISO 8601.
        finetui: Version that made it.
        files: Everything in it but this file.
        quants: Number formats of GGUF files.
        dtype: Number format of a merged model; empty for other targets.
        proof: What the round trip showed: at least ``verdict`` ("same", "differs", "not run"); None where nothing was asked.
        notes: What the user was told while it was made.
        extra: What only this target knows, such as the repository of a push.
    """

    folder: Path
    target: str
    run: str
    objective: str
    model: str
    trained_from: str
    trained_sha256: str
    made_at: str
    finetui: str
    files: tuple[ExportedFile, ...]
    quants: tuple[str, ...] = ()
    dtype: str = ""
    proof: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    def is_whole(self) -> bool:
        """Whether every file is there with its size; checksums are not read."""
        return all(_size(self.folder / file.path) == file.bytes for file in self.files)


def write(
    job: Job,
    into: Path,
    made_at: str,
    notes: Sequence[str] = (),
    proof: dict[str, Any] | None = None,
    hashed: Callable[[int], None] = lambda done: None,
) -> Export:
    """Write export.json into a folder that is otherwise complete.

    Args:
        job: What was exported.
        into: The folder.
        made_at: UTC, ISO 8601.
        notes: What the user was told.
        proof: Outcome of the round trip.
        hashed: Told how many bytes have been read for checksums so far; may raise to stop.

    Raises:
        OSError: A file cannot be read, or the disk is full.
    """
    extra = atomic.read_json(into / EXTRA) or {}
    (into / EXTRA).unlink(missing_ok=True)
    files: list[ExportedFile] = []
    before = 0
    for path in files_of(into):
        digest = sha256(path, partial(_also, hashed, before))
        files.append(ExportedFile(path.relative_to(into).as_posix(), path.stat().st_size, digest))
        before += files[-1].bytes
    export = Export(
        folder=into,
        target=job.target,
        run=job.run.name,
        objective=job.trained.config.method.objective,
        model=job.trained.config.model.model_name_or_path,
        trained_from=job.which,
        trained_sha256=trained_sha256(job.trained.path),
        made_at=made_at,
        finetui=_version(),
        files=tuple(files),
        quants=tuple(extra.pop("quants", job.quants)),
        dtype=str(extra.pop("dtype", "")),
        proof=proof,
        notes=tuple(notes),
        extra=extra,
    )
    value = asdict(export)
    del value["folder"]
    atomic.write_json(into / FILE, {"v": VERSION, **value})
    return export


# A target leaves what only it knows (``dtype``, the repository of a push) in this file; `write` takes it into export.json.
EXTRA = ".export-extra.json"


def note_extra(into: Path, **values: Any) -> None:
    """Called by a target inside `make`: facts for export.json, such as ``dtype="bfloat16"``."""
    atomic.write_json(into / EXTRA, {**(atomic.read_json(into / EXTRA) or {}), **values})


def read(folder: Path) -> Export | None:
    """The export in a folder; None where there is none or its export.json is damaged."""
    value = atomic.read_json(folder / FILE)
    if value is None or value.get("v") != VERSION:
        return None
    try:
        files = tuple(
            ExportedFile(str(one["path"]), int(one["bytes"]), str(one["sha256"])) for one in value["files"]
        )
        if any(os.path.isabs(file.path) or ".." in Path(file.path).parts for file in files):
            return None
        proof = value.get("proof")
        extra = value.get("extra")
        return Export(
            folder=folder,
            target=str(value["target"]),
            run=str(value["run"]),
            objective=str(value["objective"]),
            model=str(value["model"]),
            trained_from=str(value["trained_from"]),
            trained_sha256=str(value["trained_sha256"]),
            made_at=str(value["made_at"]),
            finetui=str(value["finetui"]),
            files=files,
            quants=tuple(str(one) for one in value.get("quants") or ()),
            dtype=str(value.get("dtype") or ""),
            proof=proof if isinstance(proof, dict) else None,
            notes=tuple(str(one) for one in value.get("notes") or ()),
            extra=extra if isinstance(extra, dict) else {},
        )
    except (KeyError, TypeError, ValueError):
        return None


def list_exports(run: RunDir) -> list[Export]:
    """A run's finished exports, oldest first: those in its folder, and those that ``--out`` wrote elsewhere and that are still there.

    Half-written ones have a hidden name and never count.
    """
    try:
        folders = [path for path in run.exports.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError:
        folders = []
    found = [export for path in folders if (export := read(path)) is not None]
    found += [export for path in elsewhere(run) if (export := _of_run(run, path)) is not None]
    return sorted(found, key=lambda export: (export.made_at, export.folder.name))


def gone_exports(run: RunDir) -> list[Path]:
    """Places that ``--out`` wrote to and where the export is no more: moved, deleted, or on a disk that is not there now."""
    return [path for path in elsewhere(run) if _of_run(run, path) is None]


def find_export(job: Job, target: str) -> Export | None:
    """A whole export of another target, made from the very files of this job; None where there is none."""
    wanted = trained_sha256(job.trained.path)
    for export in reversed(list_exports(job.run)):
        if export.target == target and export.trained_sha256 == wanted and export.is_whole():
            return export
    return None


def trained_sha256(folder: Path) -> str:
    """One checksum for all trained weights of a folder, in the order of their names.

    Raises:
        UserError: There are none.
    """
    files = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not files:
        raise UserError(
            "The trained weights are missing.",
            printable(folder, 300),
            "The folder should hold .safetensors files. Export a checkpoint instead: --checkpoint N",
        )
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def files_of(folder: Path) -> list[Path]:
    """Every file of an export, sorted, but for what tells of the others: export.json, the list for ``sha256sum``, the core's own."""
    found = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if path not in (folder / FILE, folder / SUMS, folder / EXTRA))


def sha256(path: Path, done: Callable[[int], None] = lambda num_bytes: None) -> str:
    """Checksum of a file, read in pieces; `done` is told how many bytes have been read."""
    digest = hashlib.sha256()
    read_bytes = 0
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            read_bytes += len(chunk)
            done(read_bytes)
    return digest.hexdigest()


def now() -> str:
    """The time as export.json has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _of_run(run: RunDir, folder: Path) -> Export | None:
    """The export there, unless another run's has taken its place."""
    found = read(folder)
    return found if found is not None and found.run == run.name else None


def _also(hashed: Callable[[int], None], before: int, done: int) -> None:
    hashed(before + done)


def _version() -> str:
    try:
        return version("finetui")
    except PackageNotFoundError:
        return "unknown"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
