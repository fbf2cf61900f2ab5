"""``python -m tests.bench.merge``: memory, time and exactness of merging an adapter into a model of several shards.

The model is random: 380 million parameters in bfloat16, 727 MiB in 3 files; ``--layers`` makes it larger. The merge runs in a process of its own, whose
highest memory use the kernel keeps (VmHWM); the same process before the merge, with the libraries loaded, is given beside it.
What is wanted: at most 1.2 times the largest shard plus the base in its own number format.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HIDDEN, INNER, LAYERS, VOCABULARY = 1536, 4096, 10, 32_000


def main() -> None:
    """Make the model, merge it twice, compare the logits; one JSON line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--merge", metavar="FOLDER", help="internal: merge the run in this folder")
    parser.add_argument("--dtype")
    args = parser.parse_args()
    if args.merge:
        merge_here(Path(args.merge), args.dtype)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FINETUI_HOME"] = str(folder / "home")
        made(folder, args.layers)
        shards = [path.stat().st_size for path in (folder / "base").glob("*.safetensors")]
        for dtype in (None, "float32"):
            command = [sys.executable, "-m", "tests.bench.merge", "--merge", name]
            done = subprocess.run(
                [*command, *(["--dtype", dtype] if dtype else [])],
                capture_output=True,
                check=False,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout.splitlines()[-1])
            wanted = 1.2 * max(shards) + sum(shards)
            line = {
                "bench": f"merge.{dtype or 'bfloat16'}",
                "shards": len(shards),
                "largest_shard_mib": max(shards) >> 20,
                "base_mib": sum(shards) >> 20,
                **told,
                "wanted_peak_mib": int(wanted) >> 20,
            }
            print(json.dumps(line | compared(folder, dtype or "bfloat16")), flush=True)


def made(folder: Path, layers: int) -> None:
    """A random base and a run with an adapter for it."""
    from tests.deliver.exports_made import base_model, tuned_run

    base_model(
        folder / "base",
        dtype="bfloat16",
        shard="300MB",
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=12,
        num_key_value_heads=12,
        head_dim=128,
    )
    tuned_run(folder / "base", r=16, lora_alpha=32)


def merge_here(folder: Path, dtype: str | None) -> None:
    """Merge in this process and say what it took."""
    import torch

    from engine.deliver.export.merge import merge
    from engine.deliver.source import find_trained
    from engine.run.layout import RunDir
    from engine.train.objectives import load_objective
    from tests.deliver.exports_made import Told

    torch.set_num_threads(1)
    load_objective("sft")
    import peft  # noqa: F401

    into = folder / f"merged-{dtype or 'bfloat16'}"
    into.mkdir()
    trained = find_trained(RunDir(folder / "home" / "runs" / "tuned"))
    before = peak_mib()
    started = time.perf_counter()
    merge(trained, into, Told(), dtype)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": round(seconds, 1), "libraries_mib": before, "peak_mib": peak_mib()}))


def peak_mib() -> int:
    """Highest memory use of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


def compared(folder: Path, dtype: str) -> dict[str, float]:
    """Largest difference between the logits of the merged model and those of base and adapter, both computed in float32."""
    import torch

    from tests.deliver.exports_made import adapted, logits

    def of(model: Any) -> Any:
        return logits(model, VOCABULARY)

    import transformers

    wanted = of(adapted(folder / "base", folder / "home" / "runs" / "tuned" / "adapter"))
    merged = transformers.AutoModelForCausalLM.from_pretrained(
        folder / f"merged-{dtype}", dtype=torch.float32
    )
    got = of(merged)
    return {
        "largest_difference": round(float((wanted - got).abs().max()), 6),
        "of_standard_deviation": round(float((wanted - got).abs().max() / wanted.std()), 6),
        "same_greedy_token": round(float((wanted.argmax(-1) == got.argmax(-1)).float().mean()), 4),
    }


if __name__ == "__main__":
    main()
