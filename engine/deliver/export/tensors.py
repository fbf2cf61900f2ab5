"""Safetensors files read and written piece by piece, so that a merge needs little more memory than a piece.

The format: 8 bytes little-endian length, that many bytes of JSON with name, number format, shape and place of each tensor,
then the numbers without gaps. The library reads by mapping the whole file and writes from tensors that are all in memory.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from engine.display import printable
from engine.errors import UserError
from engine.models.weights import read_header
from engine.run import atomic

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CODES = {name: code for code, name in DTYPES.items()}
WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U64": 8, "U32": 4, "U16": 2, "C64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
PIECE = 16 << 20  # bytes that are copied at once


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file.

    Attributes:
        file: The file.
        dtype: Its number format as the file names it, such as ``BF16``.
        shape: Its shape.
        offset: Where its numbers begin, counted from the start of the file.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        """Size of its numbers."""
        return math.prod(self.shape) * WIDTHS[self.dtype]

    @property
    def is_float(self) -> bool:
        """Whether it holds numbers that can be merged into and cast."""
        return self.dtype in DTYPES

    def row_bytes(self) -> int:
        """Size of one row: everything but the first dimension."""
        return math.prod(self.shape[1:]) * WIDTHS[self.dtype]

    def rows(self, start: int, stop: int) -> Any:
        """Some rows as a torch tensor in the stored number format.

        Raises:
            OSError: The file cannot be read.
        """
        import torch

        size = self.row_bytes()
        data = bytearray((stop - start) * size)
        with open(self.file, "rb", buffering=0) as stream:
            stream.seek(self.offset + start * size)
            _fill(stream, data)
        flat = (
            torch.frombuffer(data, dtype=getattr(torch, DTYPES[self.dtype]))
            if data
            else torch.empty(0, dtype=getattr(torch, DTYPES[self.dtype]))
        )
        return flat.reshape(stop - start, *self.shape[1:])

    def tensor(self) -> Any:
        """The whole tensor."""
        if not self.shape:
            return Stored(self.file, self.dtype, (1,), self.offset).rows(0, 1).reshape(())
        return self.rows(0, self.shape[0])

    def chunks(self) -> Iterator[bytes]:
        """Its numbers as they are stored."""
        with open(self.file, "rb", buffering=0) as stream:
            stream.seek(self.offset)
            left = self.num_bytes
            while left:
                data = bytearray(min(PIECE, left))
                _fill(stream, data)
                left -= len(data)
                yield bytes(data)


def tensors_in(file: Path) -> dict[str, Stored]:
    """Every tensor of a file, in the order in which they lie in it.

    Raises:
        UserError: The file is damaged.
    """
    shapes = read_header(file)  # checks the file in words
    with open(file, "rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    found: dict[str, Stored] = {}
    size = file.stat().st_size
    for name in sorted(shapes, key=lambda name: header[name]["data_offsets"][0]):
        dtype, shape = shapes[name]
        start, stop = (8 + length + int(at) for at in header[name]["data_offsets"])
        stored = Stored(file, dtype, tuple(shape), start)
        if dtype not in WIDTHS or start < 8 + length or stop - start != stored.num_bytes or stop > size:
            raise UserError(
                f"The weight file is damaged: {printable(name, 120)}.",
                printable(file, 300),
                "Download or copy the model again.",
            )
        found[name] = stored
    return found


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor that will be written.

    Attributes:
        dtype: Its number format as the file names it.
        shape: Its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size of its numbers."""
        return math.prod(self.shape) * WIDTHS[self.dtype]


class ShardWriter:
    """Writes one safetensors file; the tensors come in the order of the plan, each in as many pieces as one likes."""

    def __init__(
        self, file: Path, plan: Mapping[str, Planned], written: Callable[[int], None] = lambda num_bytes: None
    ) -> None:
        self._plan = dict(plan)
        self._written = written
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, tensor in self._plan.items():
            end = offset + tensor.num_bytes
            header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
            offset = end
        self._end = offset
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        self._start = 8 + len(raw)
        self._stream: IO[bytes] = open(file, "wb")  # noqa: SIM115 - closed by __exit__
        self._stream.write(struct.pack("<Q", len(raw)) + raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._stream.flush()
            assert self._stream.tell() == self._start + self._end, "a planned tensor was not written"
        self._stream.close()

    def write(self, data: bytes | memoryview) -> None:
        """Append to the tensor whose turn it is.

        Raises:
            OSError: The disk is full.
        """
        self._stream.write(data)
        self._written(len(data))

    def write_tensor(self, tensor: Any) -> None:
        """Append a torch tensor, or some rows of one, in the number format it has."""
        import torch

        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        for start in range(0, len(flat), PIECE):
            self.write(memoryview(flat[start : start + PIECE]))


def write_index(folder: Path, plans: Mapping[str, Mapping[str, Planned]]) -> None:
    """Write the list of which tensor is in which file; none for a single file."""
    if list(plans) == [SINGLE]:
        return
    total = sum(tensor.num_bytes for plan in plans.values() for tensor in plan.values())
    names = {name: file for file, plan in plans.items() for name in plan}
    atomic.write_json(
        folder / INDEX,
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))},
    )


def shard_names(count: int) -> Sequence[str]:
    """How the files are called."""
    if count == 1:
        return (SINGLE,)
    return tuple(f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1))


def _fill(stream: Any, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        count = stream.readinto(view)
        if not count:
            raise OSError(os.strerror(5))
        view = view[count:]
