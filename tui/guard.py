"""Ends the viewer when its terminal is gone or somebody asks it to, whatever state the screen is in.

A viewer without a terminal would spin on end-of-file or wait for ever to write. So a thread, which no blocked screen can
hold up, waits for the terminal to hang up, and a request to end that is not obeyed in time is carried out the hard way.
Training is another process in another session and notices nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from engine.errors import UserError
from engine.run.home import ensure_private, finetui_home

ERRORS = "tui-errors.log"
WATCH_EVERY = 5.0  # seconds between looks at the terminal, beside waiting for it to hang up
WAIT = 0.5  # seconds; how long a request to end may go unnoticed by the watching thread
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
        self._errors: int | None = None

    def __enter__(self) -> TerminalGuard:
        with contextlib.suppress(termios.error, OSError):
            self._attributes = termios.tcgetattr(0)
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._watch, name="terminal-guard", daemon=True).start()
        self._divert_errors()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._asked.set()
        if self._errors is not None:
            sys.stderr.flush()
            os.dup2(self._errors, 2)
            os.close(self._errors)

    def _divert_errors(self) -> None:
        """What a library writes to standard error behind Python's back must not paint over the screen: into a file."""
        if not (os.isatty(1) and os.isatty(2)):
            return
        with contextlib.suppress(OSError, UserError):
            ensure_private(finetui_home())
            log = os.open(finetui_home() / ERRORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            self._errors = os.dup(2)
            os.dup2(log, 2)
            os.close(log)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = 128 + number
        self._ask("asked to end")

    def _ask(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._asked.set()
        with contextlib.suppress(Exception):
            self._leave()

    def _watch(self) -> None:
        hang_up = select.poll()
        hang_up.register(0, 0)  # nothing but a hang-up or an error ends the wait
        look = time.monotonic() + self._watch_every
        while not self._asked.is_set():
            gone = False
            with contextlib.suppress(OSError):
                gone = bool(hang_up.poll(1000 * min(WAIT, self._watch_every)))
            if gone or (time.monotonic() >= look and self.is_dead()):
                self._ask("the terminal is gone")
            elif time.monotonic() >= look:
                look = time.monotonic() + self._watch_every
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
            os.write(1, RESTORE)
