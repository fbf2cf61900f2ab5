"""Bytes of dataset files: unpacked on the fly and read as text, whatever the encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from engine.data.reading import Progress
from engine.display import printable
from engine.errors import UserError

LONGEST_LINE = 64 * 2**20
"""A longer line is refused: it would not fit into memory next to everything else."""
COMPRESSED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
"""Endings of compressed files."""
DAMAGED = (EOFError, OSError, lzma.LZMAError)
"""What damaged compressed files raise; zlib's own error is no subclass of these and is added where it is caught."""
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_HIGH_BYTES = re.compile(rb"[\x80-\xff]{4}")


def compression_of(head: bytes) -> str | None:
    """How a file is compressed, told from its first bytes."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def open_stream(path: Path, progress: Progress | None = None) -> BinaryIO:
    """Open a file and unpack it while it is read.

    Args:
        path: The file, plain or compressed with gzip, zstd, bzip2 or xz.
        progress: Told how to find out how much of a compressed file has been read.

    Raises:
        UserError: It is compressed with zstd, and nothing that can unpack that is installed.
    """
    raw = path.open("rb")
    kind = compression_of(raw.peek(8) if isinstance(raw, io.BufferedReader) else b"")
    if kind is None:
        return raw
    if progress is not None:
        progress.position = lambda: path.stat().st_size if raw.closed else raw.tell()
    opened: Any
    if kind == "gzip":
        opened = gzip.GzipFile(fileobj=raw)
    elif kind == "bzip2":
        opened = bz2.BZ2File(raw)
    elif kind == "xz":
        opened = lzma.LZMAFile(raw)  # noqa: SIM115 - closed with the stream around it
    else:
        opened = _zstd(raw, path)
    return io.BufferedReader(opened, 1 << 20)


def _zstd(raw: BinaryIO, path: Path) -> Any:
    try:
        zstd = import_module("compression.zstd")  # Python 3.14 and later
    except ImportError:
        try:
            import pyarrow
        except ImportError:
            raise UserError(
                "Reading zstd files needs the pyarrow package, which is not installed.",
                printable(path, 300),
                "Unpack it first (unzstd FILE), or install the training extra (pip install 'finetui[train]').",
            )
        return pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")
    return zstd.ZstdFile(raw)


class TextDecoder:
    """Bytes to text, piece by piece. What is not UTF-8 is read as what it most likely is, and that is said.

    Bytes that fit no encoding become lone surrogates, so that the rows they are in can be named later on.
    """

    def __init__(self, head: bytes, progress: Progress) -> None:
        self._progress = progress
        self._ascii, self._broken = True, False
        self.encoding, self.bom = encoding_of(head)
        progress.encoding = self.encoding
        if self.encoding != "utf-8":
            name = self.encoding.upper().removesuffix("-LE").removesuffix("-BE")
            progress.note(f"The file is {name} text, not the usual UTF-8; it is read as such.")
        self._decoder = codecs.getincrementaldecoder(self.encoding)(
            "strict" if self.encoding == "utf-8" else "replace"
        )

    def decode(self, raw: bytes, final: bool = False) -> str:
        """The next piece of text."""
        before = self._decoder.getstate()[0]
        try:
            text = self._decoder.decode(raw, final)
        except UnicodeDecodeError:
            pending = before + raw
            self._decoder = self._fallback(pending)
            text = self._decoder.decode(pending, final)
        self._ascii = self._ascii and text.isascii()
        return text

    def line(self, raw: bytes) -> str:
        """A whole line; quicker than `decode`, because no character of UTF-8 reaches beyond a line feed."""
        if self.encoding == "utf-8" and not self._broken:
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                return self.decode(raw)
            self._ascii = self._ascii and text.isascii()
            return text
        return self.decode(raw)

    def _fallback(self, raw: bytes) -> codecs.IncrementalDecoder:
        if self._ascii and looks_western(raw):
            self.encoding = self._progress.encoding = "windows-1252"
            self._progress.note(
                "The file is not UTF-8; it is read as Windows-1252 (Latin-1), the usual encoding of western European "
                "spreadsheets. If letters with accents look wrong, save it again as UTF-8."
            )
            return _Windows1252()
        self._broken = True
        self._progress.note("The file has bytes that are not UTF-8; the rows they are in cannot be used.")
        return codecs.getincrementaldecoder("utf-8")("surrogateescape")


class _Windows1252(codecs.IncrementalDecoder):
    """Windows-1252, with the five bytes it leaves out read as Latin-1, as browsers do."""

    def decode(self, data: Any, final: bool = False) -> str:
        try:
            return bytes(data).decode("cp1252")
        except UnicodeDecodeError:
            return "".join(_CP1252[byte] for byte in bytes(data))

    def getstate(self) -> tuple[bytes, int]:
        return b"", 0


_CP1252 = [bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256)]


def encoding_of(head: bytes) -> tuple[str, int]:
    """Encoding told from the first bytes of a file, and how long its byte order mark is."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding, len(bom)
    sample = head[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(sample) >= 4 and max(even, odd) > len(sample) * 0.2 and min(even, odd) < max(even, odd) / 8:
        return ("utf-16-le" if odd > even else "utf-16-be"), 0
    return "utf-8", 0


def looks_western(raw: bytes) -> bool:
    """Bytes that are not UTF-8 are probably single accented letters, not an Asian or Cyrillic encoding."""
    if _HIGH_BYTES.search(raw):
        return False
    # A character that decodes as UTF-8 is no accident: the text is UTF-8 with some broken bytes.
    return all(
        char.isascii() or "\udc80" <= char <= "\udcff" for char in raw.decode("utf-8", "surrogateescape")
    )


def lines(path: Path, progress: Progress) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers, with their line ends, without a byte order mark.

    Raises:
        UserError: A line is longer than `LONGEST_LINE`.
    """
    with open_stream(path, progress) as stream:
        head = stream.peek(4096) if isinstance(stream, io.BufferedReader) else b""
        decoder = TextDecoder(head, progress)
        if decoder.encoding != "utf-8":
            yield from _wide_lines(path, stream, decoder, progress)
            return
        if decoder.bom:
            stream.read(decoder.bom)
        number = 0
        while raw := stream.readline(LONGEST_LINE):
            number += 1
            progress.counted += len(raw)
            if len(raw) == LONGEST_LINE:
                too_long(path, number)
            yield number, decoder.line(raw)
        progress.counted += decoder.bom


def _wide_lines(
    path: Path, stream: BinaryIO, decoder: TextDecoder, progress: Progress
) -> Iterator[tuple[int, str]]:
    """Lines of UTF-16 or UTF-32 text, in which a line feed is more than one byte."""
    stream.read(decoder.bom)
    number, rest = 1, ""
    while True:
        raw = stream.read(1 << 18)
        progress.counted += len(raw)
        rest += decoder.decode(raw, final=not raw)
        *whole, rest = rest.split("\n")
        for text in whole:
            yield number, text + "\n"
            number += 1
        if len(rest) > LONGEST_LINE:
            too_long(path, number)
        if not raw:
            if rest:
                yield number, rest
            return


def too_long(path: Path, line: int) -> None:
    """Refuse a line that does not fit into memory.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f"Line {line} is longer than {LONGEST_LINE // 2**20} MiB.",
        f"{printable(path, 300)}, line {line}",
        "One row must fit into memory many times over. Split this text into several rows.",
    )
