"""`tests.bench.training` on a CUDA machine, with the tokens a second as a share of what the card could compute at its peak.

`python -m tests.bench.gpu --model FOLDER [--repeats 3]`; ``--dry-run`` does it with the demo model on the processor, to see that it
works, and tells no share. Not run on a card yet. Without a card, and without ``--dry-run``, it says so and ends with 3.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from engine.config.schema import RunConfig
from engine.fit.architecture import from_folder
from engine.fit.setup import setup_of
from engine.fit.throughput import device_of, work_of
from engine.machine.model import Gpu
from engine.machine.probe import probe
from tests.bench._trainings import Job
from tests.bench.training import compare, ratios, runners, table

NO_GPU = 3


def share_of_peak(job: Job, card: Gpu, tokens_per_second: float, mean_length: float) -> float | None:
    """Useful work a second over the data sheet's peak, 0 to 1; None for a card that is not in presets/throughput.json.

    Args:
        job: What was trained.
        card: By which.
        tokens_per_second: Real tokens, learnt or not; padding is no useful work.
        mean_length: Tokens of a chat.
    """
    device = device_of(card, None, job.dtype)
    if device is None:
        return None
    config = RunConfig.model_validate(
        {
            "model": {"model_name_or_path": str(job.model), "dtype": job.dtype},
            "data": {"train": [{"path": "train.jsonl"}]},
            "lora": {"lora_r": job.lora_r},
            "training": {"max_length": job.max_length, "gradient_checkpointing": False},
        }
    )
    work = work_of(from_folder(job.model), setup_of(config, None), mean_length)
    return tokens_per_second * work.training / device.flops


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="folder of a model with a chat template")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--accumulation", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="names, finetui among them")
    parser.add_argument("--dry-run", action="store_true", help="the demo model on the processor")
    given = parser.parse_args(argv)
    if given.dry_run:
        job, card = Job(rows=given.rows, epochs=1, batch=given.batch, accumulation=given.accumulation), None
    else:
        card = next((gpu for gpu in probe().gpus if gpu.visible and not gpu.problem), None)
        if card is None or given.model is None:
            print("This needs a CUDA card and --model FOLDER; --dry-run goes without.", file=sys.stderr)
            return NO_GPU
        job = Job(
            given.model, "bfloat16", given.rows, given.batch, given.accumulation, 1, 1024, 1e-4, cuda=True
        )
    found = compare(job, given.repeats, given.only or list(runners(job.cuda)))
    for name, one in found.items():
        line = {"bench": f"gpu.{name}", **one}
        if card is not None and one.get("all_tokens_per_s"):
            line["share_of_peak"] = share_of_peak(
                job, card, one["all_tokens_per_s"], one["tokens_seen"] / (job.rows * job.epochs)
            )
        print(json.dumps(line), flush=True)
    print(json.dumps({"bench": "gpu.ratios", **ratios(found), "load": round(os.getloadavg()[0], 1)}))
    print(table(found, job, given.repeats))
    return 0


if __name__ == "__main__":
    sys.exit(main())
