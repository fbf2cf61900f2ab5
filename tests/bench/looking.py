"""How long looking at machine, catalogue and data takes, each in fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

REPEATS = 5
TIMED = {
    "import engine.machine": ("", "import engine.machine"),
    "probe": ("from engine.machine import probe", "probe()"),
    "sample": (
        "from engine.machine import Sampler; sampler = Sampler(); sampler.sample()",
        "sampler.sample()",
    ),
    "catalogue": ("from engine.models import catalogue", "catalogue.load()"),
    "load demo dataset": (
        "from engine.data.dataset import load_rows; from engine.config.draft import DEMO_DATA",
        "load_rows(DEMO_DATA)",
    ),
}


def main() -> None:
    """Print one JSON line a figure, in milliseconds."""
    for name, (before, timed) in TIMED.items():
        code = f"import time\n{before}\nstart = time.perf_counter()\n{timed}\nprint((time.perf_counter() - start) * 1000)"
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True
                ).stdout
            )
            for _ in range(REPEATS)
        ]
        print(
            json.dumps({"bench": f"looking.{name}", "median_ms": round(statistics.median(times), 1)}),
            flush=True,
        )


if __name__ == "__main__":
    main()
