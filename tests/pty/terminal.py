"""A real pseudo-terminal with a program in it, as a person at a keyboard sees it.

The program's output goes through pyte, which keeps the picture a terminal would show. Nothing is read between calls,
so a test can also be a stalled link: the program fills the kernel's buffer and then waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyte

ROOT = Path(__file__).resolve().parents[2]
FINETUI = (sys.executable, "-m", "tui")

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "backspace": "\x7f",
    "delete": "\x1b[3~",
    "space": " ",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "f1": "\x1bOP",
    "ctrl+c": "\x03",
    "ctrl+p": "\x10",
    "ctrl+u": "\x15",
}
# Sequences that terminals answer or ignore and that pyte 0.8 would print: keyboard protocol, mode queries.
UNKNOWN_TO_PYTE = re.compile(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p")
ALTERNATE = re.compile(rb"(\x1b\[\?1049[hl])")
UNFINISHED = re.compile(rb"\x1b(?:\[[<>=?]?[0-9;]*\$?)?$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came out of the program in one read: seconds since the start, and how much."""

    t: float
    num_bytes: int


class Terminal:
    """Runs a program in a pseudo-terminal.

    Args:
        argv: The program; `FINETUI` plus arguments for finetui itself.
        columns: Width.
        rows: Height.
        env: Added to a small environment of its own; a value of None removes a variable.
        cwd: Where it starts; the repository by default.
    """

    def __init__(
        self,
        argv: Sequence[str] = FINETUI,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.raw = bytearray()
        self.chunks: list[Chunk] = []
        self.exit_code: int | None = None
        self.alternate = False  # the program shows its own full screen
        self._stream = pyte.ByteStream(self.screen)
        self._held = b""
        wanted: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        environment = {key: value for key, value in wanted.items() if value is not None}
        self.started = time.perf_counter()
        self.pid, self.master = pty.fork()
        if self.pid == 0:  # pragma: no cover - the child
            try:
                self._set_size(0, columns, rows)
                os.chdir(cwd or ROOT)
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it starts with & ignore it
                os.execvpe(argv[0], list(argv), environment)
            finally:
                os._exit(127)
        self._set_size(self.master, columns, rows)

    @staticmethod
    def _set_size(fd: int, columns: int, rows: int) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # What is on the screen

    @property
    def lines(self) -> list[str]:
        """The rows of the picture, without blanks at their ends."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        """The whole picture."""
        return "\n".join(self.lines)

    def has(self, wanted: str | re.Pattern[str]) -> bool:
        """Whether a text or a pattern is on the screen."""
        return bool(wanted.search(self.text)) if isinstance(wanted, re.Pattern) else wanted in self.text

    def colours(self) -> set[str]:
        """Every foreground and background in the picture, as pyte names them."""
        cells = (
            self.screen.buffer[y][x] for y in range(self.screen.lines) for x in range(self.screen.columns)
        )
        return {colour for cell in cells for colour in (cell.fg, cell.bg)}

    # Time passes

    def pump(self, seconds: float = 0.0) -> int:
        """Read what the program writes during this time; returns the number of bytes."""
        before = len(self.raw)
        until = time.perf_counter() + seconds
        while True:
            left = until - time.perf_counter()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left))
            if not ready:
                break
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: the last writer has closed the terminal
                data = b""
            if not data:
                break
            self._feed(data)
        return len(self.raw) - before

    def wait_until(
        self, condition: Callable[[], bool], timeout: float = 10.0, what: str = "a condition"
    ) -> float:
        """Pump until the condition holds; returns the seconds since the program was started.

        Raises:
            AssertionError: It did not come true in time; the message shows the screen.
        """
        until = time.perf_counter() + timeout
        while not condition():
            if time.perf_counter() > until:
                raise AssertionError(f"Waited {timeout} s in vain for {what}. The screen:\n{self.text}")
            if not self.pump(0.02) and self.poll() is not None and not self.pump(0.05) and not condition():
                raise AssertionError(
                    f"The program ended ({self.exit_code}) before {what}. The screen:\n{self.text}"
                )
        return time.perf_counter() - self.started

    def wait_for(self, wanted: str | re.Pattern[str], timeout: float = 10.0) -> float:
        """Pump until a text or pattern is on the screen; returns the seconds since the start."""
        return self.wait_until(lambda: self.has(wanted), timeout, repr(wanted))

    def wait_gone(self, unwanted: str, timeout: float = 10.0) -> float:
        """Pump until a text is no longer on the screen."""
        return self.wait_until(lambda: not self.has(unwanted), timeout, f"{unwanted!r} to go")

    def settle(self, quiet: float = 0.25, timeout: float = 10.0) -> None:
        """Pump until nothing has been written for a while."""
        until = time.perf_counter() + timeout
        while self.pump(quiet) and time.perf_counter() < until:
            pass

    # What the user does

    def type(self, text: str) -> None:
        """Send characters as typed."""
        os.write(self.master, text.encode())

    def press(self, *keys: str, pause: float = 0.05) -> None:
        """Press keys by name (`KEYS`) or single characters, reading the output in between."""
        for key in keys:
            self.type(KEYS.get(key, key))
            self.pump(0.25 if key == "escape" else pause)  # a lone Esc must not melt into the next key

    def resize(self, columns: int, rows: int) -> None:
        """Change the size as dragging the window does."""
        self._set_size(self.master, columns, rows)
        self.screen.resize(rows, columns)

    def signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Close the master side: the window is gone, the connection has dropped."""
        os.close(self.master)
        self.master = -1

    # Its end

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code

    def wait_exit(self, timeout: float = 10.0) -> int:
        """Pump until the program has ended; returns its exit code.

        Raises:
            AssertionError: It still runs.
        """
        until = time.perf_counter() + timeout
        while self.poll() is None:
            if time.perf_counter() > until:
                raise AssertionError(f"Still running after {timeout} s. The screen:\n{self.text}")
            if self.master >= 0:
                self.pump(0.05)
            else:
                time.sleep(0.05)
        if self.master >= 0:
            self.pump(0.05)
        assert self.exit_code is not None
        return self.exit_code

    def close(self) -> None:
        """End the program if it still runs, and the terminal."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self.exit_code = os.waitstatus_to_exitcode(status)
        if self.master >= 0:
            self.hang_up()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _feed(self, data: bytes) -> None:
        self.raw += data
        self.chunks.append(Chunk(time.perf_counter() - self.started, len(data)))
        data = self._held + data
        cut = UNFINISHED.search(data[-32:])
        self._held = cut[0] if cut else b""
        shown = UNKNOWN_TO_PYTE.sub(b"", data[: len(data) - len(self._held)])
        for part in ALTERNATE.split(shown):  # pyte has no second screen: start a clean one at each change
            if ALTERNATE.fullmatch(part):
                self.screen.reset()
                self.alternate = part.endswith(b"h")
            else:
                self._stream.feed(part)
