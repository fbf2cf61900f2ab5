"""The monitor in a real terminal while the run it watches is damaged, changed, or taken away."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pty.terminal import FINETUI, Terminal
from tests.tui.made_runs import CARD, MadeRun


@pytest.fixture
def made() -> Iterator[MadeRun]:
    run = MadeRun("owl", max_steps=4000)
    run.come_alive()
    run.begin()
    run.train()
    run.steps(1, 30)
    run.memory(CARD)
    yield run
    run.die()


def attach(home: Path, columns: int = 80, rows: int = 24, **env: str) -> Terminal:
    return Terminal((*FINETUI, "attach", "owl"), columns, rows, {"FINETUI_HOME": str(home), **env})


def append(made: MadeRun, data: bytes) -> None:
    with open(made.run.events, "ab") as handle:
        handle.write(data)


def metric(step: int, **more: object) -> bytes:
    fields = {
        "v": 1,
        "seq": 1000 + step,
        "t": time.time(),
        "attempt": 1,
        "kind": "metric",
        "step": step,
        **more,
    }
    text = ", ".join(f'"{key}": {value!r}'.replace("'", '"') for key, value in fields.items())
    return f'{{{text}, "max_steps": 4000, "loss": 0.5}}\n'.encode()


def test_whatever_the_events_file_holds_the_next_good_line_is_shown(
    made: MadeRun, finetui_home: Path
) -> None:
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 30 of 4,000", 20)
        whole = metric(41)
        append(made, whole[:37])  # a write that is only half there yet
        terminal.pump(0.7)
        assert terminal.has("step 30 of 4,000")
        append(made, whole[37:])
        terminal.wait_for("step 41 of 4,000")

        append(made, os.urandom(4096) + b"\x1b[2J\x1b]0;pwned\x07\n\n{}\n[]\nnull\n" + metric(42))
        terminal.wait_for("step 42 of 4,000")
        assert b"pwned" not in terminal.raw

        # From a newer version: another number, kinds and fields nobody knows.
        append(made, b'{"v": 9, "seq": 2000, "t": 1, "kind": "hologram", "words": "from the future"}\n')
        append(made, metric(43, v=9, hologram="yes"))
        terminal.wait_for("step 43 of 4,000")

        # A clock that is set back by a day, then ahead by ten years.
        for step, jump in ((44, -86400.0), (45, 10 * 365 * 86400.0), (46, 0.0)):
            append(made, metric(step, t=time.time() + jump))
            terminal.wait_for(f"step {step} of 4,000")
        assert not re.search(r"-\d+:\d\d|-\d+ s\b", terminal.text), terminal.text

        terminal.press("l")
        with open(made.run.log, "ab") as handle:
            handle.write(b"\x1b[31mred \x1b[2J\xff\xfe\x00 binary\rprogress 1\rprogress 2\nthe last words\n")
        terminal.wait_for("the last words")
        assert terminal.has("progress 2")
        assert b"[31mred" not in terminal.raw.replace(b"\\x1b[31mred", b"")
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_a_folder_deleted_while_it_is_watched(made: MadeRun, finetui_home: Path) -> None:
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 30 of 4,000", 20)
        shutil.rmtree(made.run.path)
        terminal.wait_for("gone")
        terminal.press("c")  # nothing that can still be pressed breaks it
        terminal.press("l", "escape", "x")
        terminal.settle()
        for _ in range(4):  # a dialog, a notice, a panel: one step back each
            if not terminal.has("New fine-tune"):
                terminal.press("escape")
                terminal.settle()
        terminal.wait_for("New fine-tune")
        assert not terminal.has("1 run")
        terminal.press("q")
        assert terminal.wait_exit() == 0


# To root nothing is read-only; without this privilege (CAP_DAC_OVERRIDE) it is, from the next program on.
LIKE_ANYBODY = """
import ctypes, os, sys
if os.getuid() == 0:
    ctypes.CDLL(None).prctl(24, 1)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def read_only_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="finetui-read-only-"))
    monkeypatch.setenv("FINETUI_HOME", str(home))
    run = MadeRun("owl", max_steps=4000)
    run.come_alive()
    run.begin()
    run.train()
    run.steps(1, 30)
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            os.chmod(os.path.join(folder, name), 0o555)
        os.chmod(folder, 0o555)
    yield home
    run.die()
    for folder, _, _ in os.walk(home):
        os.chmod(folder, 0o755)
    shutil.rmtree(home)


def test_a_read_only_folder_can_be_watched_and_says_why_it_cannot_be_told_anything(
    read_only_home: Path,
) -> None:
    command = [sys.executable, "-c", LIKE_ANYBODY, *FINETUI, "attach", "owl"]
    with Terminal(command, env={"FINETUI_HOME": str(read_only_home)}) as terminal:
        terminal.wait_for("step 30 of 4,000", 20)
        terminal.press("c")
        terminal.wait_for(re.compile("cannot be (asked|written)"))
        terminal.press("escape", "x")
        terminal.wait_for("Stop owl?")
        assert terminal.has("cannot be written")
        terminal.press("escape", "q")
        assert terminal.wait_exit() == 0


def test_two_viewers_of_one_run(made: MadeRun, finetui_home: Path) -> None:
    # Without a name it opens on the one run that goes on.
    other = Terminal(FINETUI, 120, 40, {"FINETUI_HOME": str(finetui_home)})
    with attach(finetui_home) as one, other:
        for terminal in (one, other):
            terminal.wait_for("step 30 of 4,000", 20)
        one.press("c")
        one.wait_for("Save a checkpoint now?")
        one.press("enter")
        made.steps(31, 33)
        for terminal in (one, other):
            terminal.wait_for("step 33 of 4,000")
        one.press("q")
        assert one.wait_exit() == 0
        made.steps(34, 35)
        other.wait_for("step 35 of 4,000")
        assert sorted(os.listdir(made.run.control)) == ["checkpoint"]


def test_a_storm_of_five_hundred_sizes(made: MadeRun, finetui_home: Path) -> None:
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 30 of 4,000", 20)
        for number in range(500):
            # From 20x5 to 300x80 and back, not in order.
            terminal.resize(20 + number * 97 % 281, 5 + number * 31 % 76)
            if number % 20 == 0:
                terminal.pump(0.01)
        terminal.resize(80, 24)
        made.steps(31, 32)
        terminal.wait_for("step 32 of 4,000", 15)
        terminal.settle()
        assert terminal.lines[0].startswith(" owl")
        assert "q leave" in terminal.lines[-1]
        terminal.press("q")
        assert terminal.wait_exit() == 0
