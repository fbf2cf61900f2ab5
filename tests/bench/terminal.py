"""What the monitor costs the line and the processor, on a real pseudo-terminal, beside other programs in the same run.

`python -m tests.bench.terminal [--seconds 40] [--write docs/terminal.md]` prints a JSON line for each figure and a table.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench._terminals import Sent, foreign, keys, million, say, stalled, watching
from tests.bench.training import write
from tests.pty.terminal import ROOT

SIZES = ((80, 24), (120, 40), (200, 50))
IDLE_SECONDS = 20.0
FOREIGN_SECONDS = 20.0
# What is wanted: bytes a second, bytes of a frame, percent of a core; None where nothing is.
WANTED: dict[str, tuple[int | None, int | None, float | None]] = {
    "80x24": (2000, 6000, None),
    "120x40": (None, None, 1.5),
    "200x50": (6000, None, 3.0),
}
WANTED_IDLE = 50
PLOTEXT = "textual-plotext==1.0.1"


def in_new_home(measure: Callable[[Path], Any]) -> Any:
    """Measure with a folder of its own for the runs."""
    with tempfile.TemporaryDirectory(prefix="finetui-bench-") as folder:
        return measure(Path(folder))


def size_name(columns: int, rows: int) -> str:
    """As people write it."""
    return f"{columns}x{rows}"


def own(seconds: float) -> dict[str, Sent]:
    """finetui at each size while a run logs ten steps a second, and at the smallest while nothing happens."""
    found: dict[str, Sent] = {}
    for columns, rows in SIZES:
        name = size_name(columns, rows)
        found[name] = in_new_home(partial(watching, columns=columns, rows=rows, seconds=seconds))
        say("running", size=name, **asdict(found[name]), wanted=WANTED[name], load=_load())
    found["idle"] = in_new_home(partial(watching, columns=80, rows=24, seconds=IDLE_SECONDS, idle=True))
    say("idle", size="80x24", **asdict(found["idle"]), wanted=WANTED_IDLE, load=_load())
    return found


def others() -> dict[str, dict[str, Sent] | str]:
    """btop and textual-plotext at the same sizes; words where they cannot be had."""
    found: dict[str, dict[str, Sent] | str] = {}
    if shutil.which("btop") is None:
        found["btop"] = "not installed"
    else:
        found["btop"] = _at_each_size("btop", ["btop"], {})
    with tempfile.TemporaryDirectory(prefix="finetui-bench-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, PLOTEXT, "plotext==5.3.2"],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            found["textual-plotext"] = "not installable here"
        else:
            argv = [sys.executable, "-m", "tests.bench._plotext"]
            found["textual-plotext"] = _at_each_size(
                "textual-plotext", argv, {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
            )
    for name, what in found.items():
        if isinstance(what, str):
            say(name, skipped=what)
    return found


def _at_each_size(name: str, argv: list[str], env: dict[str, str]) -> dict[str, Sent]:
    found = {}
    for columns, rows in SIZES:
        size = size_name(columns, rows)
        found[size] = foreign(argv, columns, rows, FOREIGN_SECONDS, env)
        say(name, size=size, **asdict(found[size]))
    return found


def _load() -> float:
    return round(os.getloadavg()[0], 1)


def table(
    ours: dict[str, Sent],
    theirs: dict[str, dict[str, Sent] | str],
    answers: dict[str, float],
    stall: dict[str, Any],
    long_run: dict[str, Any],
    seconds: float,
) -> str:
    """The figures as Markdown."""
    lines = [
        "| program | size | bytes a second | largest frame | of one core |",
        "|---|---|---|---|---|",
    ]
    for name, sent in ours.items():
        size = "80x24" if name == "idle" else name
        what = "finetui, nothing happens" if name == "idle" else "finetui, ten steps a second"
        lines.append(_line(what, size, sent))
    for program, found in theirs.items():
        if isinstance(found, str):
            lines.append(f"| {program} | | {found} | | |")
        else:
            lines += [_line(program, size, sent) for size, sent in found.items()]
    lines += [
        "",
        f"A key is answered after {answers['p50_ms']:.0f} ms (median) and {answers['p99_ms']:.0f} ms (99 of 100), "
        f"{answers['presses']:.0f} presses while events pour in.",
        f"After {stall['stalled_s']:.0f} s in which nobody read, all {stall['typed']} keys had been taken in order, and the newest "
        f"picture stood {stall['shown_after_s']:.1f} s later ({stall['bytes_to_catch_up'] / 1000:.0f} kB).",
        f"A run of {long_run['events']:,} events ({long_run['file_mb']} MB): the curve is drawn after "
        f"{long_run['first_useful_frame_s']:.2f} s, from samples over its whole length; every event is read after "
        f"{long_run['all_read_s']:.0f} s; a spike of a single step is {'' if long_run['spike_visible'] else 'not '}seen; "
        f"{long_run['peak_memory_mb']:.0f} MB of memory at most.",
        "",
        f"256 colours, {seconds:.0f} s at each size after the first picture; frames are what comes between pauses of more than 30 ms, "
        f"the first picture included; {os.cpu_count()} cores ({platform.machine()}), load at the end {_load()}.",
    ]
    return "\n".join(lines)


def _line(what: str, size: str, sent: Sent) -> str:
    frame = max(sent.largest_frame, sent.opening)
    return f"| {what} | {size} | {sent.bytes_per_s:,.0f} | {frame:,} | {sent.cpu_percent:.1f} % |"


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--presses", type=int, default=200)
    parser.add_argument("--write", type=Path, help="a Markdown file with the marks of a table")
    given = parser.parse_args(argv)
    ours = own(given.seconds)
    theirs = others()
    answers = in_new_home(partial(keys, presses=given.presses))
    say("keys", **answers, wanted_p99_ms=100, load=_load())
    stall = in_new_home(stalled)
    say("stall", **stall, load=_load())
    long_run = in_new_home(million)
    say("million", **long_run, wanted={"first_useful_frame_s": 1.0, "peak_memory_mb": 150}, load=_load())
    text = table(ours, theirs, answers, stall, long_run, given.seconds)
    print(text)
    if given.write:
        write(given.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
