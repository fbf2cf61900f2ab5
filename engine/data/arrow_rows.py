"""Rows from columnar files: Parquet and Arrow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from engine.data.reading import Item
from engine.data.streams import open_stream
from engine.display import printable
from engine.errors import UserError

ARROW_MAGIC = b"ARROW1\0\0"
STREAM_MAGIC = b"\xff\xff\xff\xff"
"""First bytes of an Arrow stream, the kind of file the datasets library writes."""
BATCH = 256
"""Rows held in memory at a time; few, because a row may hold an image."""


def parquet_items(path: Path, compressed: bool) -> tuple[int, Iterator[Item]]:
    """Number of rows and the rows of a Parquet file. Streams in batches.

    Raises:
        UserError: Not a Parquet file, or pyarrow is not installed.
    """
    pyarrow = _pyarrow(path, "Parquet")
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(_seekable(path, pyarrow) if compressed else path)
        num_rows = int(file.metadata.num_rows)
    except (pyarrow.ArrowException, OSError, ValueError):
        _damaged(path, "Parquet")
    return num_rows, _rows(lambda: file.iter_batches(batch_size=BATCH), path, "Parquet", pyarrow)


def arrow_items(path: Path, compressed: bool) -> tuple[int | None, Iterator[Item]]:
    """Number of rows, where the file knows it, and the rows of an Arrow file of either kind. Streams in batches.

    Raises:
        UserError: Not an Arrow file, or pyarrow is not installed.
    """
    pyarrow = _pyarrow(path, "Arrow")
    from pyarrow import ipc

    num_rows: int | None = None
    try:
        source = _seekable(path, pyarrow) if compressed else pyarrow.memory_map(str(path))
        if source.read(len(ARROW_MAGIC)).startswith(ARROW_MAGIC[:6]):
            file = ipc.open_file(source)
            num_rows = sum(file.get_batch(index).num_rows for index in range(file.num_record_batches))

            def batches() -> Iterator[Any]:
                return (file.get_batch(index) for index in range(file.num_record_batches))
        else:
            source.seek(0)
            stream = ipc.open_stream(source)

            def batches() -> Iterator[Any]:
                return iter(stream)
    except (pyarrow.ArrowException, OSError, ValueError):
        _damaged(path, "Arrow")

    def small() -> Iterator[Any]:
        for batch in batches():
            for start in range(0, batch.num_rows, BATCH):
                yield batch.slice(start, BATCH)

    return num_rows, _rows(small, path, "Arrow", pyarrow)


def _rows(batches: Any, path: Path, kind: str, pyarrow: Any) -> Iterator[Item]:
    number = 0
    try:
        for batch in batches():
            batch.validate(full=True)  # a damaged file otherwise ends the process
            for row in batch.to_pylist():
                number += 1
                yield number, dict(row)
    except (pyarrow.ArrowException, OSError, ValueError):
        _damaged(path, kind, number + 1)


def _seekable(path: Path, pyarrow: Any) -> Any:
    """Unpacked into a temporary file, because these formats are read from their end."""
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the reader lets go of it
    with open_stream(path) as packed:
        shutil.copyfileobj(packed, unpacked)
    unpacked.seek(0)
    return pyarrow.PythonFile(unpacked, mode="r")


def _pyarrow(path: Path, kind: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise UserError(
            f"Reading {kind} files needs the pyarrow package, which is not installed.",
            printable(path, 300),
            "Install the training extra (pip install 'finetui[train]'), or save the dataset as JSONL.",
        )
    return pyarrow


def _damaged(path: Path, kind: str, row: int | None = None) -> NoReturn:
    where = printable(path, 300)
    raise UserError(
        f"The file is not a readable {kind} file; it may be damaged or incomplete.",
        where if row is None else f"{where}, row {row}",
        "Download or export it again.",
    )
