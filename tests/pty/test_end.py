"""How the viewer ends: signals, a dropped connection, a stalled line, a crash. It never hangs and never spins."""

from __future__ import annotations

import signal
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.pty.terminal import FINETUI, Terminal

BREAKS = """
import sys
from tui.environment import prepare_environment
prepare_environment()
from tui.screens.home import HomeScreen
def broken(self):
    raise ZeroDivisionError("on purpose")
HomeScreen.action_demo = broken
from tui.app import run_app
sys.exit(run_app())
"""


@pytest.fixture
def env(finetui_home: Path) -> dict[str, str | None]:
    return {"FINETUI_HOME": str(finetui_home)}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_asked_to_end_it_restores_the_terminal(env: dict[str, str | None], number: signal.Signals) -> None:
    with Terminal(env=env) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.press("enter")
        terminal.wait_for("RAM")
        terminal.signal(number)
        assert terminal.wait_exit(4) == 128 + number
        assert not terminal.alternate
        assert terminal.raw.rindex(b"\x1b[?25h") > terminal.raw.rindex(b"\x1b[?25l")
        assert termios.tcgetattr(terminal.master)[3] & termios.ECHO


def test_a_dropped_connection_ends_it(env: dict[str, str | None]) -> None:
    with Terminal(env=env) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.hang_up()
        terminal.wait_exit(8)


def test_a_dropped_connection_ends_it_even_with_hangup_ignored(env: dict[str, str | None]) -> None:
    """As under nohup: no signal comes, reading gives end-of-file for ever."""
    ignoring = [sys.executable, "-c", IGNORE_HANGUP, *FINETUI]
    with Terminal(ignoring, env=env) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.hang_up()
        terminal.wait_exit(12)


# The viewer sets its own handler for SIGHUP, so block the signal instead of ignoring it.
IGNORE_HANGUP = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_stalled_line_does_not_keep_it_from_ending(env: dict[str, str | None]) -> None:
    with Terminal(columns=200, rows=60, env=env) as terminal:
        terminal.wait_for("New fine-tune")
        for step in range(200):  # nobody reads: the kernel's buffer fills, and writing blocks
            terminal.resize(100 + step % 50, 40 + step % 20)
            time.sleep(0.01)
        terminal.signal(signal.SIGTERM)
        until = time.monotonic() + 6
        while terminal.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert terminal.poll() is not None


def test_no_key_is_lost_on_a_stalled_line(env: dict[str, str | None]) -> None:
    with Terminal(env=env) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.type("\r")
        time.sleep(0.5)
        terminal.type("\r")
        time.sleep(3)
        terminal.wait_for("What should the model learn?")


def test_a_crash_leaves_two_lines_and_a_log(env: dict[str, str | None], finetui_home: Path) -> None:
    with Terminal([sys.executable, "-c", BREAKS], env=env) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.press("d")
        assert terminal.wait_exit() == 1
        assert not terminal.alternate
        assert terminal.has("Training is another process")
        assert terminal.has("tui-crash.log")
        assert not terminal.has("Traceback")
        assert "on purpose" not in terminal.text
    assert "ZeroDivisionError: on purpose" in (finetui_home / "tui-crash.log").read_text()


def test_killed_it_leaves_the_draft_whole(env: dict[str, str | None]) -> None:
    with Terminal(env=env) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.press("enter", "enter")
        terminal.wait_for("What should the model learn?")
        terminal.press("down", "enter")
        terminal.wait_for("Question 1")
        terminal.signal(signal.SIGKILL)
        assert terminal.wait_exit() == -signal.SIGKILL
    with Terminal(env=env) as terminal:
        terminal.wait_for("you were at: Goal")
        terminal.press("enter")
        terminal.wait_for("Question 1")
        terminal.press("escape")
        terminal.wait_for("▸ A task")
