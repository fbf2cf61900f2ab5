"""Terminals that can do little, and what stands between: TERM=dumb, tmux, a library that writes where it should not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pty.terminal import FINETUI, Terminal
from tests.tui.made_runs import MadeRun


@pytest.fixture
def env(finetui_home: Path) -> dict[str, str | None]:
    return {"FINETUI_HOME": str(finetui_home)}


def ended(name: str) -> MadeRun:
    made = MadeRun(name, max_steps=30)
    made.begin()
    made.train()
    made.steps(1, 30)
    made.finish()
    return made


def test_a_dumb_terminal_gets_questions_in_plain_lines(env: dict[str, str | None]) -> None:
    with Terminal(env={**env, "TERM": "dumb"}, columns=120, rows=40) as terminal:
        terminal.wait_for("Number, or Enter for 1:", 20)
        assert terminal.has("TERM=dumb cannot show screens")
        terminal.type("1\n")
        terminal.wait_for("Step 1 of 8: Machine")
        terminal.wait_for("Price of an hour")
        terminal.type("\n")
        terminal.wait_for("What should the model learn?")
        terminal.type("q\n")
        assert terminal.wait_exit() == 0
        assert terminal.has("Your answers are kept.")
        assert b"\x1b" not in terminal.raw


def test_a_dumb_terminal_follows_a_run_as_lines(env: dict[str, str | None]) -> None:
    made = MadeRun("owl", max_steps=400)
    made.come_alive()
    made.begin()
    made.train()
    made.steps(1, 9)
    try:
        with Terminal((*FINETUI, "attach", "owl"), env={**env, "TERM": "dumb"}, columns=120) as terminal:
            terminal.wait_for("step 9/400", 20)
            assert terminal.has("Plain lines, because TERM=dumb")
            terminal.press("ctrl+c")
            assert terminal.wait_exit() == 130
            assert terminal.has("Training goes on without you.")
            assert b"\x1b" not in terminal.raw
    finally:
        made.die()


WRITES = """
import os, sys
from tui.environment import prepare_environment
prepare_environment()
from tui.screens.home import HomeScreen
def noisy(self):
    os.write(2, b"PAINTED OVER")
    print("PAINTED TOO")
    self.notice.say("done")
HomeScreen.action_demo = noisy
from tui.app import run_app
sys.exit(run_app())
"""


def test_what_a_library_writes_to_standard_error_goes_into_a_file(
    env: dict[str, str | None], finetui_home: Path
) -> None:
    with Terminal([sys.executable, "-c", WRITES], env=env) as terminal:
        terminal.wait_for("New fine-tune", 20)
        terminal.press("d")
        terminal.wait_for("→ done")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert b"PAINTED" not in terminal.raw
    assert "PAINTED OVER" in (finetui_home / "tui-errors.log").read_text()


def test_a_path_is_copied_through_the_terminal(env: dict[str, str | None], finetui_home: Path) -> None:
    made = ended("owl")
    with Terminal(env=env) as terminal:
        terminal.wait_for("owl", 20)
        terminal.press("down", "down", "p")
        terminal.wait_until(
            lambda: "copied.txt" in "".join(terminal.text.split()), what="the name of the file"
        )
        assert b"\x1b]52;c;" in terminal.raw
        assert not terminal.has("]52;")
    assert (finetui_home / "copied.txt").read_text() == f"{made.run.path}\n"


def test_no_mouse_leaves_the_mouse_alone(env: dict[str, str | None]) -> None:
    with Terminal((*FINETUI, "--no-mouse"), env=env) as terminal:
        terminal.wait_for("New fine-tune", 20)
        terminal.settle()
        assert b"\x1b[?1000h" not in terminal.raw
        terminal.press("q")
        assert terminal.wait_exit() == 0


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_inside_tmux_and_when_tmux_is_killed(env: dict[str, str | None], tmp_path: Path) -> None:
    ended("owl")
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    with Terminal([*tmux, "new-session", "-x", "80", "-y", "24", *FINETUI], env=env) as terminal:
        terminal.wait_for("New fine-tune", 20)
        terminal.press("down", "down", "enter")
        terminal.wait_for("finished")
        listed = [*tmux, "list-panes", "-a", "-F", "#{pane_pid}"]
        pid = int(subprocess.run(listed, capture_output=True, text=True, check=True).stdout)
        assert _running(pid)
        subprocess.run([*tmux, "kill-server"], capture_output=True, check=True)
        until = time.monotonic() + 6
        while _running(pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not _running(pid)


@pytest.mark.skipif(shutil.which("screen") is None, reason="GNU screen is not installed")
def test_esc_alone_comes_through_gnu_screen(env: dict[str, str | None], tmp_path: Path) -> None:
    sockets = tmp_path / "sockets"
    sockets.mkdir(mode=0o700)
    inside = {**env, "SCREENDIR": str(sockets), "TMUX": None, "STY": None}
    try:
        with Terminal(["screen", "-U", "-c", "/dev/null", *FINETUI], env=inside) as terminal:
            terminal.wait_for("New fine-tune", 20)
            terminal.press("?")
            terminal.wait_for("Esc close")
            terminal.press("escape")
            terminal.wait_until(lambda: not terminal.has("Esc close"), what="the end of the help")
            terminal.press("q")
            assert terminal.wait_exit() == 0
    finally:
        quit_it = {**os.environ, "SCREENDIR": str(sockets)}
        subprocess.run(["screen", "-X", "quit"], env=quit_it, capture_output=True, check=False)


def _running(pid: int) -> bool:
    try:
        return not re.search(r"\) [ZX] ", Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return False


IGNORE_HANGUP = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_dead_terminal_costs_no_time(env: dict[str, str | None]) -> None:
    """As under nohup no signal comes; it must neither stay nor spin on the end of the file."""
    with Terminal([sys.executable, "-c", IGNORE_HANGUP, *FINETUI], env=env) as terminal:
        terminal.wait_for("New fine-tune", 20)
        terminal.hang_up()
        begun = time.monotonic()
        _, _, usage = os.wait4(terminal.pid, 0)
        terminal.exit_code = 0
        assert time.monotonic() - begun < 5
        assert usage.ru_utime + usage.ru_stime < 6  # the start alone takes one or two


def test_what_another_program_wrote_over_the_screen_is_painted_over(env: dict[str, str | None]) -> None:
    with Terminal(env=env) as terminal:
        terminal.wait_for("fine-tunes language models")
        terminal.settle()
        before = terminal.text
        terminal._feed(b"\x1b[6;1HBroadcast message from root\r\nThe system will go down")
        assert terminal.has("Broadcast message")
        terminal.type("\x0c")  # Ctrl+L
        terminal.wait_gone("Broadcast message")
        terminal.settle()
        assert terminal.text == before
