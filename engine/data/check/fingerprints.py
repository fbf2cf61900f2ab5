"""Finding repeated rows among any number of rows: three 64-bit hashes a row in a temporary file, a bounded set in memory.

Exact: the same turns, whatever else the row holds. Near: the same words apart from case, spaces, punctuation and
digits. Question: the words before the first answer, apart from case, spaces and sentence marks; it finds questions that
are in the training and in the evaluation data.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from string import ascii_letters
from types import TracebackType
from typing import IO

from engine.display import printable
from engine.errors import UserError

NONE = bytes(8)
"""The hash of a text too short to be compared."""
RECORD = 4
"""Numbers a row takes in the log: line, exact, near, question."""
_LEAST_LETTERS = 24
_AT_ONCE = 1 << 20  # hashes in memory at a time, about 130 MB
_READ = 1 << 16  # rows read at a time
_LOWER = bytes(code + 32 if 65 <= code <= 90 else code for code in range(256))
_NO_LETTERS = bytes(code for code in range(128) if chr(code) not in ascii_letters)
_SPACES_AND_MARKS = b" \t\r\n\v\f.,;:!?'\"`*"


def exact_hash(raw: bytes) -> bytes:
    """Eight bytes that are the same for the same text."""
    return blake2b(raw, digest_size=8).digest()


def near_hash(text: str, raw: bytes) -> bytes:
    """Eight bytes that are the same for the same words; `NONE` where there are too few of them."""
    words = (raw if len(raw) == len(text) else text.lower().encode()).translate(_LOWER, _NO_LETTERS)
    return blake2b(words, digest_size=8).digest() if len(words) >= _LEAST_LETTERS else NONE


def question_hash(text: str) -> bytes:
    """Eight bytes that are the same for the same question; `NONE` for one of under 12 characters."""
    words = text.lower().encode().translate(None, _SPACES_AND_MARKS)
    return blake2b(words, digest_size=8).digest() if len(words) >= 12 else NONE


@contextmanager
def _told() -> Iterator[None]:
    """A full disk, or no folder for temporary files, in words."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The check cannot write its temporary file: {os.strerror(error.errno or 0)}.",
            printable(tempfile.tempdir or "the folder for temporary files", 300),
            f"Free some space there ({RECORD * 8} bytes a row are needed), or set TMPDIR to another folder.",
        ) from None


class FingerprintLog:
    """Hashes of all rows of a dataset, in order, in a temporary file."""

    def __init__(self) -> None:
        with _told():
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="finetui-check-")  # noqa: SIM115 - closed with the log
        self.rows = 0

    def __enter__(self) -> FingerprintLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what a full disk did not take is of no use any more
            self._file.close()

    def add(self, records: array[int]) -> None:
        """Append rows.

        Args:
            records: `RECORD` unsigned 64-bit numbers a row.
        """
        with _told():
            records.tofile(self._file)
            self._file.flush()
        self.rows += len(records) // RECORD

    def repeated(self, column: int, seen_before: FingerprintLog | None = None) -> Iterator[tuple[int, int]]:
        """Rows whose hash an earlier row has, or any row of another log.

        Args:
            column: 1 exact, 2 near, 3 question.
            seen_before: Compare with this log in place of the earlier rows.

        Yields:
            Line of the row and line of the first row like it, in bounded memory: several passes for many rows.
        """
        compared = seen_before or self
        passes = max(1, -(-compared.rows // _AT_ONCE))
        for number in range(passes):
            first: dict[int, int] = {}
            if seen_before is not None:
                for line, value in seen_before.pairs(column, passes, number):
                    first.setdefault(value, line)
            for line, value in self.pairs(column, passes, number):
                if value in first:
                    yield line, first[value]
                elif seen_before is None:
                    first[value] = line

    def pairs(self, column: int, passes: int = 1, number: int = 0) -> Iterator[tuple[int, int]]:
        """Line and hash of every row that has one, or of those that fall to one of several passes."""
        self._file.flush()
        self._file.seek(0)
        while True:
            records = array("Q", self._file.read(_READ * RECORD * 8))
            if not records:
                self._file.seek(0, 2)
                return
            for line, value in zip(records[0::RECORD], records[column::RECORD], strict=True):
                if value and value % passes == number:
                    yield line, value
