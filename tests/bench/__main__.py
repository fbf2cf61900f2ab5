"""``python -m tests.bench [NAME ...]``: every benchmark, one JSON object a line. Compare within one run only."""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHES: dict[str, list[str]] = {
    "startup": [],
    "looking": [],
    "plot": [],
    "terminal": [],
    "telling": [],
    "data_check": [],
    "vram_accuracy": [],
    "simulate": [],
    "merge": [],
    "training": ["--repeats", "1"],
    "demo_quality": ["--tunings", "lora"],
}

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}; default: all")
names = parser.parse_args().names
if unknown := [name for name in names if name not in BENCHES]:
    parser.error(f"there is no benchmark {', '.join(unknown)}")
for name in names or BENCHES:
    subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *BENCHES[name]], check=True)
