"""How long a user waits: the help text, the first screen, the first training step's imports."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

from tests.pty.terminal import Terminal

REPEATS = 5


def main() -> None:
    """Print one JSON line a figure, in seconds (median of five)."""
    report("help", [timed([sys.executable, "-m", "tui", "--help"]) for _ in range(REPEATS)], limit=0.3)
    report("first_screen", [first_screen() for _ in range(REPEATS)], limit=0.7)
    report("python_start", [timed([sys.executable, "-c", ""]) for _ in range(REPEATS)])


def report(name: str, seconds: list[float], limit: float | None = None) -> None:
    line = {
        "bench": f"startup.{name}",
        "median_s": round(statistics.median(seconds), 3),
        "max_s": round(max(seconds), 3),
    }
    print(json.dumps(line | ({"wanted_s": limit} if limit else {})), flush=True)


def timed(argv: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(argv, capture_output=True, check=True)
    return time.perf_counter() - started


def first_screen() -> float:
    with tempfile.TemporaryDirectory() as home, Terminal(env={"FINETUI_HOME": home}) as terminal:
        return terminal.wait_for("New fine-tune")


if __name__ == "__main__":
    main()
