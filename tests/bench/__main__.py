"""``python -m tests.bench [NAME ...]``: every benchmark, one JSON object a line. Compare within one run only."""

from __future__ import annotations

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

for name in sys.argv[1:] or BENCHES:
    subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *BENCHES[name]], check=True)
