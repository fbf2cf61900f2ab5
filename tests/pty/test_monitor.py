"""The monitor in a real terminal, on an events file that grows."""

from __future__ import annotations

import math
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pty.terminal import FINETUI, Terminal
from tests.tui.made_runs import CARD, MadeRun

STEP = re.compile(r"step (\d+) of 4,000")


@pytest.fixture
def made() -> Iterator[MadeRun]:
    run = MadeRun("owl", max_steps=4000)
    run.come_alive()
    run.begin()
    run.train()
    run.evaluate(0, 3.0)
    run.steps(1, 300)
    run.memory(CARD)
    yield run
    run.die()


class Pouring:
    """Ten steps a second, in at most four lines, as a trainer writes them."""

    def __init__(self, made: MadeRun, first: int) -> None:
        self._made = made
        self._step = first
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._pour, daemon=True)

    def _pour(self) -> None:
        while not self._ended.wait(0.1):
            self._step += 1
            step = self._step
            self._made.writer.metric(
                step=step, max_steps=4000, loss=0.7 + 2 * math.exp(-step / 300) + 0.1 * math.sin(step * 1.7),
                grad_norm=1 + 0.3 * math.sin(step), learning_rate=2e-4 * (1 - step / 4000), epoch=step / 900,
                tokens_per_second=3000 + 100 * math.sin(step / 3),
            )  # fmt: skip
            if step % 20 == 0:
                self._made.memory({**CARD, "utilization": 80 + step % 19})
            if step % 50 == 0:
                self._made.evaluate(step, 0.9 + 2 * math.exp(-step / 300))

    def __enter__(self) -> Pouring:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()


def attach(home: Path, columns: int = 80, rows: int = 24, **env: str) -> Terminal:
    return Terminal((*FINETUI, "attach", "owl"), columns, rows, {"FINETUI_HOME": str(home), **env})


def step_on(terminal: Terminal) -> int:
    found = STEP.search(terminal.text)
    return int(found[1]) if found else 0


def test_it_follows_a_growing_file_and_leaves_cleanly(made: MadeRun, finetui_home: Path) -> None:
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 300 of 4,000", 20)
        terminal.settle()
        for wanted in (
            "● running",
            "GPU memory, GiB",
            "97 % busy",
            "Training continues. Back: finetui attach owl",
        ):
            assert terminal.has(wanted)
        made.steps(301, 310)
        terminal.wait_for("step 310 of 4,000")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.has("Training goes on. Back: finetui attach owl   Stop it: finetui stop owl")
        assert not terminal.alternate


@pytest.mark.thorough
def test_few_bytes_while_it_trains_and_none_while_nothing_happens(made: MadeRun, finetui_home: Path) -> None:
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 300 of 4,000", 20)
        terminal.settle(1.0)
        quiet = terminal.pump(11.0)
        assert quiet <= 50 * 11, "only the clock, every five seconds"
        with Pouring(made, 300):
            terminal.wait_until(lambda: step_on(terminal) > 300, what="the first new step")
            seconds = 10.0
            begun = len(terminal.chunks)
            poured = terminal.pump(seconds)
        frames: dict[int, int] = {}
        for chunk in terminal.chunks[begun:]:
            frames[int(chunk.t * 4)] = frames.get(int(chunk.t * 4), 0) + chunk.num_bytes
        assert step_on(terminal) > 350
        assert poured / seconds <= 2000
        assert max(frames.values()) <= 6000
        terminal.press("space")
        terminal.wait_for("picture frozen")
        terminal.settle()
        made.steps(1000, 1010)
        assert terminal.pump(2.0) == 0


def test_keys_answer_while_events_pour_in(made: MadeRun, finetui_home: Path) -> None:
    with attach(finetui_home) as terminal, Pouring(made, 300):
        terminal.wait_for("step 3", 20)
        for key, wanted in (
            ("l", "─ log ─"),
            ("l", "─ loss "),
            ("s", "─ samples"),
            ("escape", "─ loss "),
            ("?", "Loss says"),
        ):
            terminal.press(key)
            terminal.wait_for(wanted, 3)
        terminal.press("escape")
        terminal.press("x")
        terminal.wait_for("Stop owl?", 3)


def test_a_finished_run_says_so_and_goes_to_its_result(made: MadeRun, finetui_home: Path) -> None:
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 300 of 4,000", 20)
        made.finish()
        terminal.wait_for("✓ finished")
        terminal.settle(1.0)
        assert terminal.pump(6.0) == 0, "a run that has ended changes nothing any more"
        terminal.press("enter")
        terminal.wait_for("owl is trained")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.has("finetui chat owl")


@pytest.mark.parametrize("size", [(300, 80), (120, 40), (60, 16), (40, 8), (20, 5)])
def test_any_size(made: MadeRun, finetui_home: Path, size: tuple[int, int]) -> None:
    with attach(finetui_home, *size) as terminal:
        terminal.wait_for("running", 20)
        terminal.resize(80, 24)
        terminal.wait_for("step 300 of 4,000")


@pytest.mark.parametrize(
    ("env", "kept"),
    [
        ({"FINETUI_CHARSET": "ascii"}, "ascii"),
        ({"TERM": "linux"}, "block"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "no colour"),
        ({"TERM": "screen"}, "16 colours"),
    ],
)
def test_plain_terminals_lose_nothing_but_beauty(
    made: MadeRun, finetui_home: Path, env: dict[str, str], kept: str
) -> None:
    made.writer.emit("checkpoint", step=300, path="x")
    made.evaluate(300, 1.2)
    with attach(finetui_home, **env) as terminal:
        terminal.wait_for("step 300 of 4,000", 20)
        terminal.settle()
        for wanted in (
            "running",
            "train",
            "eval",
            "best",
            "checkpoint",
            "limit",
            "97 % busy",
            "Checkpoint saved",
        ):
            assert terminal.has(wanted), wanted
        if kept == "ascii":
            assert terminal.text.isascii()
        if kept == "block":
            assert not re.search("[\u2800-\u28ff]", terminal.text)
        if kept == "no colour":
            assert terminal.colours() == {"default"}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_viewer_leaves_the_run_alone(made: MadeRun, finetui_home: Path, number: int) -> None:
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 300 of 4,000", 20)
        before = sorted(os.listdir(made.run.path))
        terminal.signal(number)
        terminal.wait_exit()
    assert sorted(os.listdir(made.run.path)) == before
    made.steps(301, 302)
    with attach(finetui_home) as terminal:
        terminal.wait_for("step 302 of 4,000", 20)


def test_a_stalled_link_loses_no_key(made: MadeRun, finetui_home: Path) -> None:
    with attach(finetui_home) as terminal, Pouring(made, 300):
        terminal.wait_for("step 3", 20)
        threading.Event().wait(4.0)  # nobody reads
        terminal.type("l")
        terminal.wait_for("─ log ─", 5)
