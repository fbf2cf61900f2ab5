"""The same fine-tuning through finetui, ``trl sft`` (defaults, best settings) and plain transformers, in turn; ratios of one run.

`python -m tests.bench.training [--repeats 3] [--write docs/throughput.md]` prints a JSON line for each, one with the ratios, and a
table. Repeats are interleaved, so that a busy moment of the machine hits all alike; numbers of different runs do not compare.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench._trainings import Job, Measured, finetui, judge, plain, trl, write_chats

GIB = 2**30
MARKS = ("<!-- begin of the table -->", "<!-- end of the table -->")
NO_CHECKPOINTING = ("--gradient_checkpointing", "false")

# The best settings of trl depend on the machine: the fastest of these counts.
BEST: dict[str, tuple[str, ...]] = {
    "trl, float32 without checkpointing": (*NO_CHECKPOINTING, "--bf16", "false"),
    "trl, float32 without checkpointing, grouped": (
        *NO_CHECKPOINTING,
        "--bf16",
        "false",
        "--train_sampling_strategy",
        "group_by_length",
    ),
    "trl, bfloat16 without checkpointing": NO_CHECKPOINTING,
}
COMPARED = ("first_step_s", "tokens_per_s", "wall_s", "peak_bytes", "card_bytes", "eval_loss")
TITLES = {"finetui": "`finetui train`", "trl": "`trl sft`, defaults", "plain": "transformers `Trainer`"}


def runners(cuda: bool = False) -> dict[str, Callable[[Job, Path, Path], Measured]]:
    """What is compared, by name."""
    best = BEST if not cuda else {
        "trl, grouped": (*NO_CHECKPOINTING, "--train_sampling_strategy", "group_by_length"),
        "trl, packed": (*NO_CHECKPOINTING, "--packing", "true", "--attn_implementation", "flash_attention_2"),
    }  # fmt: skip
    found: dict[str, Callable[[Job, Path, Path], Measured]] = {"finetui": finetui, "trl": trl}
    for name, own in best.items():
        found[name] = lambda job, data, place, own=own: trl(job, data, place, *own)  # type: ignore[misc]
    return found | {"plain": plain}


def compare(job: Job, repeats: int, names: list[str]) -> dict[str, dict[str, float]]:
    """Train in turn, so often, and take the medians.

    Returns:
        By name: first_step_s, tokens_per_s (learnt tokens), wall_s, peak_bytes (main memory), card_bytes, eval_loss.
    """
    cuda = job.cuda
    chosen = {name: run for name, run in runners(cuda).items() if name in names}
    with tempfile.TemporaryDirectory(prefix="finetui-bench-") as folder:
        place = Path(folder)
        data = place / "data"
        write_chats(data, job.rows, job.seed)
        taken: dict[str, list[Measured]] = {name: [] for name in chosen}
        for number in range(repeats):
            for name, run in chosen.items():
                taken[name].append(run(job, data, place / f"{number}-{name.replace(' ', '')}"))
                _say(name, number, taken[name][-1])
        counts = {
            f"{all_[-1].tokens:.3e}"  # trl prints four digits
            for name, all_ in taken.items()
            if all_[-1].tokens and "packed" not in name
        }
        if len(counts) > 1:
            raise RuntimeError(f"They did not train on the same tokens: {counts}")
        learnt, losses = judge(job, data, [all_[-1].result for all_ in taken.values()])
    seen = taken["finetui"][-1].tokens or 0
    each = learnt * job.epochs * (job.steps - 1) / job.steps  # the first step is not timed
    return {
        name: {
            "first_step_s": round(statistics.median(one.first_step for one in all_), 2),
            "tokens_seen": seen,
            "all_tokens_per_s": round(
                statistics.median(seen * (job.steps - 1) / job.steps / one.training for one in all_), 1
            ),
            "tokens_per_s": round(statistics.median(each / one.training for one in all_), 1),
            "wall_s": round(statistics.median(one.wall for one in all_), 2),
            "peak_bytes": max(one.peak for one in all_),
            **({"card_bytes": max(one.card for one in all_)} if cuda else {}),
            "eval_loss": round(loss, 5),
        }
        for (name, all_), loss in zip(taken.items(), losses, strict=True)
    }


def ratios(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    """finetui against each of the others, and which settings of trl were the fastest."""
    own = found["finetui"]
    told: dict[str, Any] = {
        name: {key: round(own[key] / other[key], 3) for key in COMPARED if other.get(key)}
        for name, other in found.items()
        if name != "finetui"
    }
    tuned = [name for name in found if name.startswith("trl")]
    if len(tuned) > 2:  # the best of one is no best
        told["best_of_trl"] = max(tuned, key=lambda name: found[name]["tokens_per_s"])
    return told


def table(found: dict[str, dict[str, float]], job: Job, repeats: int) -> str:
    """The figures as Markdown."""
    best = ratios(found).get("best_of_trl")
    lines = [
        "| program | seconds to the first step | learnt tokens a second | whole time | main memory | loss on held-out chats |",
        "|---|---|---|---|---|---|",
    ]
    own = found["finetui"]
    for name, one in found.items():
        title = (
            TITLES.get(name)
            or f"`trl sft`, {name.removeprefix('trl, ')}{', its best' if name == best else ''}"
        )
        cells = [
            f"{one['first_step_s']:.1f} ({own['first_step_s'] / one['first_step_s']:.2f})",
            f"{one['tokens_per_s']:.0f} ({own['tokens_per_s'] / one['tokens_per_s']:.2f})",
            f"{one['wall_s']:.1f} s ({own['wall_s'] / one['wall_s']:.2f})",
            f"{one['peak_bytes'] / GIB:.2f} GiB ({own['peak_bytes'] / one['peak_bytes']:.2f})",
            f"{one['eval_loss']:.4f} ({own['eval_loss'] / one['eval_loss']:.3f})",
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    load = os.getloadavg()[0]
    lines += [
        "",
        f"In brackets: finetui's figure divided by that one. Medians of {repeats} interleaved repeats; {job.rows} chats, "
        f"{job.epochs} epochs, {job.batch * job.accumulation} chats a step, {job.steps} steps, seed {job.seed}; "
        f"{os.cpu_count()} cores ({platform.machine()}), {os.environ.get('OMP_NUM_THREADS', 'all')} threads, load at the end "
        f"{load:.1f}.",
    ]
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Put the table between its marks."""
    whole = path.read_text(encoding="utf-8")
    before, _, rest = whole.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    path.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def _say(name: str, number: int, one: Measured) -> None:
    print(
        f"# {number} {name}: first step {one.first_step:.1f} s, training {one.training:.1f} s, whole {one.wall:.1f} s, "
        f"load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=Job().rows)
    parser.add_argument("--epochs", type=int, default=Job().epochs)
    parser.add_argument("--only", nargs="+", default=list(runners()), help="names, finetui among them")
    parser.add_argument("--write", type=Path, help="a Markdown file with the marks of a table")
    given = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    job = Job(rows=given.rows, epochs=given.epochs)
    found = compare(job, given.repeats, given.only)
    for name, one in found.items():
        print(json.dumps({"bench": f"training.{name}", **one}), flush=True)
    print(json.dumps({"bench": "training.ratios", **ratios(found), "load": round(os.getloadavg()[0], 1)}))
    text = table(found, job, given.repeats)
    print(text)
    if given.write:
        write(given.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
