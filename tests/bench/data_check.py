"""How long one million rows take to be checked, and how much memory; beside ``datasets.load_dataset`` on the same file.

``python -m tests.bench.data_check [ROWS]``. Each side runs in a fresh process and may use all cores; memory is the highest
sum over its processes.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROWS = 1_000_000
CHECK = (
    "import sys\nfrom engine.data.check.run import CheckRequest, check\n"
    "report = check(CheckRequest((sys.argv[1],)))\nprint(report.rows, report.usable, sum(report.counts.values()))"
)
LOAD = (
    "import sys\nfrom datasets import load_dataset\n"
    "print(load_dataset('json', data_files=sys.argv[1], split='train', cache_dir=sys.argv[2]).num_rows)"
)


def write_rows(path: Path, rows: int) -> None:
    """Conversations of one to three exchanges, about 1,000 bytes a row; a few with something to find."""
    draw = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 10))) for _ in range(5000)]
    # Sentences are made once: joining them is what makes a gigabyte in half a minute.
    sentences = [
        " ".join(draw.choices(words, k=draw.randint(6, 24))).capitalize() + "." for _ in range(20_000)
    ]
    sentences += [
        f"See https://www.{word}.org/{word}/page-{i}?id={i * 7919}" for i, word in enumerate(words[:600])
    ]
    sentences += [
        "Write to <b>us</b> in May 2024 (call 8 to 17 h).",
        "caf\u00e9 na\u00efve \u4f60\u597d \u2019quoted\u2019",
        "x[0] = y[1]; a @ b",
    ] * 200
    with path.open("w", encoding="utf-8") as handle:
        for number in range(rows):
            turns = []
            for _ in range(draw.choice((1, 1, 1, 2, 2))):
                turns.append({"role": "user", "content": " ".join(draw.choices(sentences, k=2))})
                turns.append({"role": "assistant", "content": " ".join(draw.choices(sentences, k=4))})
            if number % 1000 == 17:
                turns[-1]["content"] += f" Mail me: person{number}@mail-{number % 97}.net"
            if number % 5000 == 3:
                turns = turns[:1]
            handle.write(json.dumps({"id": number, "messages": turns}, ensure_ascii=number % 2 == 0) + "\n")
            if number % 4000 == 5:
                handle.write('{"messages": [{"role": "user", "content": "broken}\n')


def measured(code: str, *args: str) -> dict[str, object]:
    """Seconds and highest memory of a process with all its children."""
    began, cpu = time.perf_counter(), _cpu_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        root, most = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                family = [root, *root.children(recursive=True)]
                most = max(most, sum(member.memory_info().rss for member in family if member.is_running()))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.read().decode()
        if process.returncode:
            raise SystemExit(process.stderr.read().decode())
    used = round(_cpu_seconds() - cpu, 2)
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": used,
        "peak_mb": round(most / 1e6),
        "said": said.strip(),
    }


def _cpu_seconds() -> float:
    """Processor time of all ended children and their children."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    """Print one JSON line a figure."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(prefix="finetui-bench-") as folder:
        path = Path(folder, "rows.jsonl")
        write_rows(path, rows)
        size = path.stat().st_size
        checked = measured(CHECK, str(path))
        good = Path(folder, "good.jsonl")
        with (
            path.open("rb") as source,
            good.open("wb") as target,
        ):  # load_dataset stops at the first broken line
            target.writelines(line for line in source if not line.endswith(b'"broken}\n'))
        loaded = measured(LOAD, str(good), folder)
        load = f"{psutil.getloadavg()[0]:.1f}"
    found = {
        "bench": "data_check",
        "rows": rows,
        "mb": round(size / 1e6),
        "cores": psutil.cpu_count(),
        "load_average": load,
    }
    ratio = float(str(checked["seconds"])) / float(str(loaded["seconds"]))
    print(
        json.dumps({**found, "check": checked, "load_dataset": loaded, "ratio": round(ratio, 2)}), flush=True
    )


if __name__ == "__main__":
    main()
