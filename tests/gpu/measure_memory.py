"""Measure the memory of real training steps on a CUDA card, as rows of the accuracy bench.

``python -m tests.gpu.measure_memory OUT.csv [--quick] [--compare] [--model NAME …] [--method NAME …]`` trains a few steps of
models with random weights through finetui's own trainer, every case in a process of its own, and appends one row a
metric (``allocated``, ``reserved``, ``nvidia-smi``) in the columns of ``tests/bench/data/vram_measured.csv``.
``--compare`` prints beside each measurement what the simulated step says, ``--dry-run`` only what would be measured.
Without a card it says so and ends with 3.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NO_GPU = 3
STEPS = 4
GIB = 1 << 30
DEMO = Path(__file__).parents[2] / "presets" / "demo"
COLUMNS = (
    "source model params_b method lora_r target_modules batch seq_len grad_ckpt optimizer attention dtype extras gpu "
    "metric peak_gib_or_gb notes unit outcome tier num_gpus"
).split()
# Published architectures, with random weights: memory does not depend on what the weights are.
MODELS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen3-1.7B": {
        "model_type": "qwen3",
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-3.2-3B": {
        "model_type": "llama",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
}
METHODS = ("full", "lora", "qlora4", "qlora8")


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    Attributes:
        model: Key of ``MODELS``.
        method: As in the bench's rows.
        lengths: Length of the rows of each batch, in turn; all alike but for fragmentation cases.
    """

    model: str
    method: str
    batch: int
    seq_len: int
    checkpointing: bool
    optimizer: str = "adamw_torch_fused"
    lora_r: int = 16
    lengths: tuple[int, ...] = ()


def matrix(models: list[str], methods: list[str], quick: bool) -> Iterator[Case]:
    """Every case to measure, the small ones first."""
    shapes = [(1, 512), (4, 1024)] if quick else [(1, 512), (1, 2048), (4, 1024), (2, 4096)]
    for model in models:
        for method in methods:
            for batch, length in shapes:
                for checkpointing in (True, False):
                    yield Case(model, method, batch, length, checkpointing)
            if method == "full" and not quick:
                for optimizer in ("adamw_torch", "adamw_8bit", "paged_adamw_8bit", "adafactor"):
                    yield Case(model, method, 1, 512, True, optimizer)
        if not quick:
            growing = tuple(range(256, 2049, 128))
            yield Case(model, "lora", 4, 2048, True, lengths=growing)


def describe(case: Case) -> str:
    """The case in a line."""
    words = [
        case.model,
        case.method,
        f"batch {case.batch}",
        f"{case.seq_len} tokens",
        f"checkpointing {'on' if case.checkpointing else 'off'}",
        case.optimizer,
    ]
    if case.lengths:
        words.append(f"growing from {case.lengths[0]} to {case.lengths[-1]}")
    return ", ".join(words)


def run_config(case: Case, folder: Path) -> Any:
    """The case as finetui's configuration."""
    from engine.config.schema import RunConfig

    return RunConfig.model_validate(
        {
            "model": {
                "model_name_or_path": str(folder),
                "dtype": "bfloat16",
                "load_in_4bit": case.method == "qlora4",
                "load_in_8bit": case.method == "qlora8",
            },
            "data": {"train": ["unused.jsonl"]},
            "method": {"tuning": "full" if case.method == "full" else "lora"},
            "lora": {"lora_r": case.lora_r},
            "training": {
                "max_length": case.seq_len,
                "per_device_train_batch_size": case.batch,
                "max_steps": max(STEPS, len(case.lengths)),
                "optim": case.optimizer,
                "gradient_checkpointing": case.checkpointing,
                "group_by_length": False,  # rows of a step are alike, so each has a line of its own
            },
            "watch": {"save_steps": 10_000},
        }
    )


def train(case: Case, folder: Path) -> dict[str, Any]:
    """Train the case in this process and say what it needed, in bytes."""
    import torch
    from datasets import Dataset

    from engine.train import model as loading
    from engine.train.objectives import core

    config = run_config(case, folder)
    lengths = case.lengths or (case.seq_len,) * STEPS
    rows = [
        {"input_ids": [5] * length, "labels": [5] * length} for length in lengths for _ in range(case.batch)
    ]
    with Sampler() as sampler:
        try:
            model = loading.load_model(config)
            trainer = core.build(
                config,
                model,
                loading.load_tokenizer(config),
                Dataset.from_list(rows),
                None,
                core.arguments(config, tempfile.mkdtemp(), False, False),
                [],
            )
            # Rows stay in order, so that lengths grow as stated.
            trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
            trainer.train()
            outcome, steady = "ok", torch.cuda.memory_allocated()
        except torch.cuda.OutOfMemoryError:
            outcome, steady = "oom", 0
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return {
        "outcome": outcome,
        "allocated": allocated,
        "reserved": reserved,
        "nvidia-smi": sampler.highest,
        "steady": steady,
        "params": num_params(case.model),
        "gpu": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "versions": versions(),
    }


class Sampler:
    """The most memory this process has held on its card, as the driver counts it."""

    def __init__(self) -> None:
        import pynvml

        self.highest = 0
        pynvml.nvmlInit()
        devices = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        # Of every card, because asking torch which one it uses may already take memory on it.
        self._before = {
            pynvml.nvmlDeviceGetUUID(device): pynvml.nvmlDeviceGetMemoryInfo(device).used
            for device in devices
        }
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        import pynvml
        import torch

        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        device = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        before = self._before.get(uuid, 0)
        while True:
            own = [
                process.usedGpuMemory
                for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)
                if process.pid == os.getpid() and process.usedGpuMemory
            ]
            # In a container the driver does not know our process number: then what the whole card gained is ours.
            used = own[0] if own else pynvml.nvmlDeviceGetMemoryInfo(device).used - before
            self.highest = max(self.highest, used)
            if self._done.wait(0.01):
                return


def versions() -> str:
    """The software of this measurement, as the rows' notes give it."""
    from importlib.metadata import version

    import torch

    names = ("torch", "transformers", "peft", "bitsandbytes", "trl")
    return f"{' '.join(f'{name} {version(name)}' for name in names)} cuda {torch.version.cuda}"


def rows_of(case: Case, measured: dict[str, Any]) -> list[dict[str, str]]:
    """The measurement as rows of the bench."""
    oom = measured["outcome"] == "oom"
    extras = "; ".join(
        part
        for part in (
            "random weights",
            "nf4 double quant" if case.method == "qlora4" else "",
            f"growing lengths {case.lengths[0]} to {case.lengths[-1]}" if case.lengths else "",
        )
        if part
    )
    notes = f"{measured['versions']}; unpadded rows" + (
        "" if oom else f"; steady alloc {measured['steady'] / GIB:.3f} GiB"
    )
    common = {
        "source": "finetui tests/gpu/measure_memory.py",
        "model": case.model,
        "params_b": f"{measured['params'] / 1e9:.3f}",
        "method": case.method,
        "lora_r": "" if case.method == "full" else str(case.lora_r),
        "target_modules": "" if case.method == "full" else "all-linear",
        "batch": str(case.batch),
        "seq_len": str(case.seq_len),
        "grad_ckpt": "yes" if case.checkpointing else "no",
        "optimizer": case.optimizer,
        "attention": "sdpa",
        "dtype": "bfloat16",
        "extras": extras,
        "gpu": measured["gpu"],
        "notes": notes,
        "unit": "GiB",
        "outcome": measured["outcome"],
        "tier": "A",
        "num_gpus": "1",
    }
    return [
        {**common, "metric": metric, "peak_gib_or_gb": "" if oom else f"{measured[metric] / GIB:.3f}"}
        for metric in ("allocated", "reserved", "nvidia-smi")
    ]


def num_params(name: str) -> int:
    """Weights of a model, tied matrices once."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config(name))
    return sum(parameter.numel() for parameter in model.parameters())


def model_config(name: str) -> Any:
    """A model's configuration as transformers has it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    fields = MODELS[name]
    return CONFIG_MAPPING[fields["model_type"]].from_dict(dict(fields))


def model_folder(name: str, folder: Path) -> Path:
    """Where the model is kept."""
    return folder / name.replace("/", "--")


def random_model(name: str, folder: Path) -> Path:
    """A folder with a model of random weights, made once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = model_folder(name, folder)
    if not (made / "config.json").exists():
        AutoModelForCausalLM.from_config(model_config(name), dtype=torch.bfloat16).save_pretrained(made)
        AutoTokenizer.from_pretrained(DEMO).save_pretrained(made)
    return made


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """The case in a process of its own, so that nothing of the last one is left on the card."""
    command = [
        sys.executable,
        "-m",
        __spec__.name,
        "--case",
        json.dumps(asdict(case)),
        "--folder",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{case}: {done.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def compare(simulator: Any, case: Case, measured: dict[str, Any]) -> str:
    """What the simulated step says, beside the measurement."""
    from dataclasses import replace

    from engine.fit.setup import setup_of

    setup = replace(setup_of(run_config(case, Path("unused"))), padded=False, eval_batch=0)
    number = simulator.submit(
        setup,
        MODELS[case.model],
        circumstances={"capability": measured["capability"], "lengths": list(case.lengths)},
    )
    found = simulator.result(number, 300)
    parts = [
        f"{metric} {value / GIB:.3f} GiB simulated ({100 * (value / measured[metric] - 1):+.2f} %)"
        for metric, value in (("allocated", found.allocated.p50), ("reserved", found.reserved.p50))
    ]
    return ", ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 3 where no card can be used."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("out", nargs="?", type=Path, help="CSV file to append to")
    parser.add_argument("--quick", action="store_true", help="two shapes and the smallest model only")
    parser.add_argument(
        "--compare", action="store_true", help="print the simulated step's answer beside each"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the cases and end; needs no card")
    parser.add_argument("--model", nargs="+", choices=list(MODELS))
    parser.add_argument("--method", nargs="+", choices=METHODS)
    parser.add_argument("--folder", type=Path, help="where models with random weights are kept")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    models = given.model or list(MODELS)[: 1 if given.quick else None]
    cases = list(matrix(models, given.method or list(METHODS), given.quick))
    if given.dry_run:
        for case in cases:
            print(describe(case))
        print(f"{len(cases)} cases, three rows each; nothing was measured.")
        return 0
    import torch

    if not torch.cuda.is_available():
        print(
            "No CUDA GPU can be used here, so nothing was measured. "
            f"(torch {torch.__version__}; run this on a machine with an NVIDIA card and a CUDA build of torch.)",
            file=sys.stderr,
        )
        return NO_GPU
    if given.case:
        fields = json.loads(given.case)
        case = Case(**{**fields, "lengths": tuple(fields["lengths"])})
        print(json.dumps(train(case, model_folder(case.model, given.folder))))
        return 0
    if given.out is None:
        parser.error("name the CSV file to append to")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="finetui-random-"))
    simulator = None
    if given.compare:
        from engine.fit.simulate_client import Simulator

        simulator = Simulator()
    for name in models:
        random_model(name, folder)
    for case in cases:
        started = time.monotonic()
        try:
            measured = measure(case, folder)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"failed: {error}", file=sys.stderr, flush=True)
            continue
        append(given.out, rows_of(case, measured))
        line = f"{case.model} {case.method} {case.batch}x{case.seq_len} " + (
            "out of memory"
            if measured["outcome"] == "oom"
            else f"allocated {measured['allocated'] / GIB:.3f}, reserved {measured['reserved'] / GIB:.3f}, "
            f"nvidia-smi {measured['nvidia-smi'] / GIB:.3f} GiB"
        )
        if simulator is not None and measured["outcome"] == "ok":
            line += f"; {compare(simulator, case, measured)}"
        print(f"{line} ({time.monotonic() - started:.0f} s)", flush=True)
    if simulator is not None:
        simulator.close()
    return 0


def append(path: Path, rows: list[dict[str, str]]) -> None:
    """Add rows, with the header where the file is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
