"""``python -m tests.bench [NAME ...]``: every benchmark, one JSON object a line. Compare within one run only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROWS = str(HERE / "data" / "vram_measured.csv")
BENCHES: dict[str, list[str]] = {
    "startup": [],
    "looking": [],
    "plot": [],
    "vram_accuracy": [ROWS],
    "simulate": [],
    "demo_quality": ["--tunings", "lora"],
}

for name in sys.argv[1:] or BENCHES:
    subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *BENCHES[name]], check=True)
