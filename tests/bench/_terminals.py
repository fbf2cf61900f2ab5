"""What the bench of the terminal measures: bytes, frames, processor time, answers to keys, all on a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import random
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench._pour import NAME
from tests.pty.terminal import FINETUI, KEYS, ROOT, Chunk, Terminal

QUIET = 0.03  # seconds without a byte: the frame is over
SETTLE = 4.0  # seconds after the first picture that do not count as steady
STEP = re.compile(r"\d[\d,]* of 4,000")
MILLION = 1_000_000
SPIKE = 700_001  # the step whose loss jumps
READING = "Reading what has happened"
BRAILLE = re.compile("[\u2801-\u28ff]")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a program wrote in a while.

    Attributes:
        bytes_per_s: On average.
        largest_frame: Most bytes between two pauses, from the program's start on.
        opening: The largest frame while it opened.
        cpu_percent: Of one core, user and system.
    """

    bytes_per_s: float
    largest_frame: int
    opening: int
    cpu_percent: float


class Uninterpreted(Terminal):
    """Counts what comes and draws nothing, for programs that send much."""

    def _feed(self, data: bytes) -> None:
        self.raw += data
        self.chunks.append(Chunk(time.perf_counter() - self.started, len(data)))


@contextmanager
def trainer(home: Path, seconds: float, idle: bool = False) -> Iterator[None]:
    """A process that pours events, from when its history is written until the block ends."""
    argv = [sys.executable, "-m", "tests.bench._pour", str(seconds), *(["--idle"] if idle else [])]
    environment = {**os.environ, "FINETUI_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("The process that pours events did not start.")
        try:
            yield
        finally:
            process.terminate()


def attach(home: Path, columns: int, rows: int) -> Terminal:
    """The viewer on the run, in 256 colours."""
    return Terminal((*FINETUI, "attach", NAME), columns, rows, {"FINETUI_HOME": str(home)})


def measure(terminal: Terminal, seconds: float) -> Sent:
    """Read for a while what a program that has shown its first picture sends."""
    terminal.pump(SETTLE)
    process = psutil.Process(terminal.pid)
    steady, seen = len(terminal.chunks), len(terminal.raw)
    busy, started = _busy(process), time.perf_counter()
    terminal.pump(seconds)
    wall = time.perf_counter() - started
    opening = frames(terminal.chunks[:steady])
    return Sent(
        round((len(terminal.raw) - seen) / wall, 1),
        max(frames(terminal.chunks[steady:]), default=0),
        max(opening, default=0),
        round(100 * (_busy(process) - busy) / wall, 2),
    )


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def frames(chunks: Sequence[Chunk]) -> list[int]:
    """Bytes of each burst of output."""
    found: list[int] = []
    last = float("-inf")
    for chunk in chunks:
        if chunk.t - last > QUIET:
            found.append(0)
        found[-1] += chunk.num_bytes
        last = chunk.t
    return found


def watching(home: Path, columns: int, rows: int, seconds: float, idle: bool = False) -> Sent:
    """The viewer while a run logs, or while nothing happens."""
    with trainer(home, seconds + 60, idle), attach(home, columns, rows) as terminal:
        terminal.wait_for(STEP, 30)
        return measure(terminal, seconds)


def foreign(argv: Sequence[str], columns: int, rows: int, seconds: float, env: Mapping[str, str]) -> Sent:
    """Another program in a terminal of the same size."""
    with Uninterpreted(argv, columns, rows, {**env}) as terminal:
        terminal.wait_until(lambda: len(terminal.raw) > 2000, 30, "its first picture")
        return measure(terminal, seconds)


def keys(home: Path, presses: int) -> dict[str, float]:
    """Time from a key to the first byte of the answer, while events pour in; milliseconds."""
    taken: list[float] = []
    order = random.Random(3)
    with trainer(home, presses + 60), attach(home, 80, 24) as terminal:
        terminal.wait_for(STEP, 30)
        terminal.pump(SETTLE)
        for number in range(presses):
            # Help opens and closes, the curve zooms, its scale changes; never in step with the pictures.
            key = ("?", "?", "z", "y")[number % 4]
            terminal.settle(0.06, 2)
            terminal.pump(order.random() * 0.1)
            pressed = time.perf_counter()
            terminal.type(key)
            if not select.select([terminal.master], [], [], 2.0)[0]:
                raise RuntimeError(f"No answer to {key!r} within two seconds:\n{terminal.text}")
            taken.append(1000 * (time.perf_counter() - pressed))
            terminal.pump(0.05)
    ordered = sorted(taken)
    return {
        "presses": presses,
        "p50_ms": round(statistics.median(ordered), 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "max_ms": round(ordered[-1], 1),
    }


def stalled(home: Path, seconds: float = 10.0) -> dict[str, object]:
    """Nobody reads for a while, and somebody types: what is on the screen afterwards, and how soon."""
    typed = "the owl types 0123456789 blindly"
    with trainer(home, seconds + 60), attach(home, 200, 50) as terminal:
        terminal.wait_for(STEP, 30)
        terminal.pump(SETTLE)
        before, started = len(terminal.raw), time.perf_counter()
        for _ in range(20):  # whole pictures, until the kernel takes no more
            for key in ("?", "?"):
                terminal.type(key)
                time.sleep(0.1)
        terminal.type(KEYS["ctrl+p"])
        time.sleep(0.5)
        for char in typed:
            terminal.type(char)
            time.sleep(0.02)
        time.sleep(max(0.0, seconds - (time.perf_counter() - started)))
        stalled_for, released = time.perf_counter() - started, time.perf_counter()
        terminal.wait_for(typed, 20)
        return {
            "stalled_s": round(stalled_for, 1),
            "typed": len(typed) + 41,
            "all_in_order": terminal.has(typed),
            "shown_after_s": round(time.perf_counter() - released, 2),
            "bytes_to_catch_up": len(terminal.raw) - before,
        }


def write_million(home: Path) -> None:
    """The events of a run of a million steps, with one that jumps; as fast as the disk takes them."""
    from tests.tui.made_runs import MadeRun

    os.environ["FINETUI_HOME"] = str(home)
    made = MadeRun(NAME, MILLION)
    made.begin()
    made.train()
    began, noise = time.time() - MILLION / 10, random.Random(1)
    wobble = [noise.gauss(0, 0.03) for _ in range(1009)]
    with open(made.run.events, "a", encoding="utf-8") as file:
        for step in range(1, MILLION + 1):
            loss = 9.0 if step == SPIKE else 0.8 + 1.7 / (1 + step / 20_000) + wobble[step % 1009]
            file.write(
                f'{{"v":1,"seq":{step + 6},"t":{began + step / 10:.3f},"attempt":1,"kind":"metric","step":{step},'
                f'"max_steps":{MILLION},"loss":{loss:.4f},"grad_norm":{1 + abs(wobble[step % 997]):.4f},'
                f'"learning_rate":{2e-4 * (1 - step / MILLION):.4e},"epoch":{step / 300_000:.4f},'
                f'"tokens_per_second":{3000 + step % 97}.0,"num_tokens":{step * 2048}}}\n'
            )
    made.come_alive()


def million(home: Path) -> dict[str, object]:
    """Open a run with a million events."""
    write_million(home)
    size = sum(path.stat().st_size for path in home.rglob("events.jsonl"))
    with attach(home, 120, 40) as terminal:
        first = terminal.wait_until(lambda: len(_loss_cells(terminal)) > 30, 60, "the curve of the loss")
        covered = _covers(terminal)
        whole = terminal.wait_until(lambda: not terminal.has(READING) and _spike(terminal), 120, "the spike")
        terminal.pump(3)
        status = Path(f"/proc/{terminal.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s*(\d+) kB", status)
        return {
            "events": MILLION,
            "file_mb": round(size / 1e6),
            "first_useful_frame_s": round(first, 2),
            "first_covers": covered,
            "all_read_s": round(whole, 2),
            "spike_visible": _spike(terminal),
            "all_covers": _covers(terminal),
            "peak_memory_mb": round(int(peak[1]) / 1024, 1) if peak else None,
        }


def _loss_box(terminal: Terminal) -> tuple[int, int, int, int]:
    """Left and right column, first and last row of the chart of the loss; zeros while there is none."""
    for top, line in enumerate(terminal.screen.display):
        if (found := re.search(r"╭─ loss[^╮]*╮", line)) is not None:
            left, right = found.start(), found.end() - 1
            rows = range(top + 1, terminal.screen.lines)
            bottom = next((y for y in rows if terminal.screen.display[y][left] == "╰"), 0)
            return left, right, top, bottom
    return 0, 0, 0, 0


def _loss_cells(terminal: Terminal) -> list[tuple[int, int]]:
    """Column and row of the cells that the curve is drawn in."""
    left, right, top, bottom = _loss_box(terminal)
    lines = terminal.screen.display
    return [
        (x, y) for y in range(top + 1, bottom) for x in range(left + 1, right) if BRAILLE.match(lines[y][x])
    ]


def _covers(terminal: Terminal) -> float:
    """How much of the width of its chart the curve takes; a part of the rest are the labels."""
    columns = {x for x, _ in _loss_cells(terminal)}
    left, right = _loss_box(terminal)[:2]
    return round((max(columns) - min(columns) + 1) / (right - left - 1), 2)


def _spike(terminal: Terminal) -> bool:
    """Whether the curve jumps where it does, and only there."""
    left, right, top, bottom = _loss_box(terminal)
    high = [x for x, y in _loss_cells(terminal) if y < top + (bottom - top) * 0.5]
    expected = left + (right - left) * SPIKE / MILLION
    return bool(high) and all(abs(x - expected) < 0.12 * (right - left) for x in high)


def say(name: str, **fields: object) -> dict[str, object]:
    """Print one line of figures."""
    line = {"bench": f"terminal.{name}", **fields}
    print(json.dumps(line), flush=True)
    return line
