"""Ends the viewer when its terminal is gone or somebody asks it to, whatever state the screen is in.

A viewer without a terminal would spin on end-of-file or wait for ever to write. So a thread, which no blocked screen can
hold up, watches the terminal, and a request to end that is not obeyed in time is carried out the hard way. Training is
another process in another session and notices nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

WATCH_EVERY = 5.0  # seconds between looks at the terminal
PATIENCE = 2.0  # seconds the screen has to end by itself
# Keyboard protocol, mouse, paste and focus reports off, line wrap and cursor on, normal screen.
RESTORE = (
    b"\x1b[<u\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[?7h\x1b[?1049l\x1b[?25h"
)


class TerminalGuard:
    """Watches over the terminal while a screen is shown.

    Args:
        leave: Asks the screen to end; called from any thread.
        watch_every: Seconds between looks at the terminal.
        patience: Seconds the screen has to end by itself.
    """

    def __init__(
        self, leave: Callable[[], object], watch_every: float = WATCH_EVERY, patience: float = PATIENCE
    ) -> None:
        self.reason: str | None = None
        self._leave = leave
        self._watch_every = watch_every
        self._patience = patience
        self._parent = os.getppid()
        self._ended = threading.Event()
        self._asked = threading.Event()
        self.exit_code = 128 + signal.SIGHUP
        self._attributes: list[Any] | None = None

    def __enter__(self) -> TerminalGuard:
        with contextlib.suppress(termios.error, OSError):
            self._attributes = termios.tcgetattr(0)
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._watch, name="terminal-guard", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._asked.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = 128 + number
        self._ask("asked to end")

    def _ask(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._asked.set()
        with contextlib.suppress(Exception):
            self._leave()

    def _watch(self) -> None:
        while not self._asked.wait(self._watch_every):
            if self.is_dead():
                self._ask("the terminal is gone")
        if not self._ended.wait(self._patience):
            self._end_hard()

    def is_dead(self) -> bool:
        """Whether the terminal has hung up, or whoever started us has gone."""
        return not os.isatty(0) or os.getppid() != self._parent

    def _end_hard(self) -> None:
        # Not from this thread: writing to a stalled terminal may wait for ever.
        threading.Thread(target=self._restore, daemon=True).start()
        time.sleep(0.3)
        os._exit(self.exit_code)

    def _restore(self) -> None:
        with contextlib.suppress(OSError, termios.error):
            if self._attributes is not None:
                termios.tcsetattr(0, termios.TCSANOW, self._attributes)
            os.write(2, RESTORE)
