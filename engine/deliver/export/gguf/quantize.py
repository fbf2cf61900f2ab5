"""From a 16-bit GGUF file to one with fewer bits, in a child process: a crash of C++ code is an error, not the end."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from engine.deliver.export.gguf.child import last_words, run_child
from engine.deliver.export.gguf.quants import Quant
from engine.deliver.export.job import Tell
from engine.display import printable
from engine.errors import UserError

_MODULE = "engine.deliver.export.gguf.quantize_main"


def quantize(source: Path, target: Path, quant: Quant, log: Path, tell: Tell, expected: int) -> None:
    """Write a GGUF file in another number format.

    Args:
        source: A GGUF file with 16-bit or 32-bit numbers.
        target: The file to write; on failure nothing of that name is left.
        quant: Its format.
        log: File that gets llama.cpp's messages.
        tell: Told how many bytes are written.
        expected: Bytes the file will have, about.

    Raises:
        UserError: llama.cpp failed or crashed.
        Cancelled: The user asked to stop.
    """

    def poll() -> None:
        written = target.stat().st_size if target.exists() else 0
        tell.progress(min(written, expected), max(expected, 1))

    command = [
        sys.executable,
        "-P",
        "-m",
        _MODULE,
        str(os.getpid()),
        str(source),
        str(target),
        str(quant.ftype),
    ]
    whole = False
    try:
        code = run_child(command, log, poll)
        if code != 0 or not target.is_file():
            raise _failure(code, log, quant, target)
        whole = True
    finally:
        if not whole:
            target.unlink(missing_ok=True)
    size = target.stat().st_size
    tell.progress(size, size)


def _failure(code: int, log: Path, quant: Quant, target: Path) -> UserError:
    if shutil.disk_usage(target.parent).free < 1 << 20:
        return UserError(
            "The disk became full while the GGUF file was written.",
            printable(target.parent, 200),
            "Free some space, or write to another disk: --out DIR",
        )
    how = f"crashed (signal {-code})" if code < 0 else f"failed (exit code {code})"
    if code == -9:
        how = "was killed, most likely because the main memory was full"
    return UserError(
        f"llama.cpp {how} while it wrote {quant.name}: {last_words(log) or 'it said nothing'}",
        printable(log, 200),
        "The 16-bit file is possible without it: --quant F16. The trained model is unharmed.",
    )
