"""The end of the trainer's log, followed as it grows."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from engine.display import printable

MOST_LINES = 2000
MOST_BYTES = 256 * 1024  # read at once: of a long log only the end is wanted
LONGEST_LINE = 1000


class LogTail:
    """The last lines of a log file; call `read` as often as you like."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=MOST_LINES)
        self._offset = 0
        self._pending = b""

    def read(self) -> bool:
        """Take what was added; returns whether there is anything new."""
        try:
            with open(self.path, "rb") as handle:
                size = handle.seek(0, os.SEEK_END)
                if size < self._offset:  # cut or replaced
                    self.lines.clear()
                    self._offset, self._pending = 0, b""
                start = max(self._offset, size - MOST_BYTES)
                skipped = start > self._offset
                handle.seek(start)
                data = handle.read(size - start)
        except OSError:
            return False
        self._offset = start + len(data)
        if not data:
            return False
        *lines, pending = ((b"" if skipped else self._pending) + data).split(b"\n")
        self._pending = pending[-MOST_BYTES:]
        self.lines.extend(_shown(line) for line in lines[skipped:])
        return True

    def shown(self) -> list[str]:
        """The lines, with the unfinished last one."""
        return [*self.lines, _shown(self._pending)] if self._pending else list(self.lines)


def _shown(line: bytes) -> str:
    # A progress bar rewrites its line: only its last state counts.
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    return printable(text.replace("\t", "    "), LONGEST_LINE)
