"""``python -m tests.advise.record_curves [NAME ...]``: train the embedded model well and badly, and keep the curves for the tests.

Each file in tests/advise/curves is one real run: its points and evaluations as its events told them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.run.events import EventReader, expand
from engine.run.layout import RunDir

ROOT = Path(__file__).resolve().parents[2]
CURVES = Path(__file__).with_name("curves")
DEMO = ROOT / "presets" / "demo"
KEPT = ("step", "loss", "learning_rate", "grad_norm", "rewards/accuracies", "reward", "frac_reward_zero_std")
EVALUATED = {"eval_fraction": "0.1", "eval_steps": "10", "logging_steps": "1", "sample_prompts": "[]"}

# Name: configuration, settings on the command line, rows of the demo's data (None: the configuration's own).
RUNS: dict[str, tuple[str, dict[str, str], int | None]] = {
    "good": ("presets/demo/run.yaml", EVALUATED | {"num_train_epochs": "1"}, 600),
    "rate-too-high": ("presets/demo/run.yaml", EVALUATED | {"learning_rate": "0.08", "max_grad_norm": "1000"}, 500),
    "rate-too-low": ("presets/demo/run.yaml", EVALUATED | {"learning_rate": "1e-6"}, 400),
    "overfits": ("presets/demo/run.yaml", EVALUATED | {"num_train_epochs": "60", "learning_rate": "5e-3"}, 40),
    "flat": (
        "presets/demo/run.yaml",
        EVALUATED | {"num_train_epochs": "40", "lr_scheduler_type": "constant", "eval_steps": "50", "lora_r": "2"},
        200,
    ),
    "by-heart": ("presets/demo/run.yaml", {"num_train_epochs": "250", "learning_rate": "3e-3", "eval_fraction": "0"}, 2),
    "spike": (
        "presets/demo/run.yaml",
        EVALUATED | {"per_device_train_batch_size": "2", "gradient_accumulation_steps": "1", "num_train_epochs": "1"},
        400,
    ),
    "dpo": ("presets/recipes/dpo-lora.yaml", {"logging_steps": "1"}, None),
    "grpo": ("presets/recipes/grpo-lora.yaml", {"logging_steps": "1", "max_steps": "60"}, None),
}  # fmt: skip


def record(name: str) -> None:
    """Train one and write its file."""
    config, settings, rows = RUNS[name]
    with tempfile.TemporaryDirectory(prefix="curves-") as folder:
        home = Path(folder)
        argv = [sys.executable, "-m", "tui", "train", "-c", str(ROOT / config), "--name", name, "--plain"]
        if rows is not None:
            data = home / "train.jsonl"
            lines = (DEMO / "train.jsonl").read_text(encoding="utf-8").splitlines()[:rows]
            if name == "spike":
                lines[rows * 3 // 4] = _odd_row()
            data.write_text("\n".join(lines) + "\n", encoding="utf-8")
            argv += ["--train", str(data)]
        argv += [word for key, value in settings.items() for word in (f"--{key}", value)]
        env = {**os.environ, "FINETUI_HOME": str(home / "home"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        run = RunDir(home / "home" / "runs" / name)
        if not run.events.exists():
            raise RuntimeError(done.stdout[-2000:])
        points, held_out = [], []
        for event in EventReader(run.events).read(1 << 28):
            for point in expand(event):
                if point["kind"] == "metric":
                    points.append({key: point[key] for key in KEPT if key in point})
                elif point["kind"] == "evaluation" and "eval_loss" in point:
                    held_out.append([point["step"], point["eval_loss"]])
        told = {
            "objective": name if name in ("dpo", "grpo") else "sft",
            "points": points,
            "held_out": held_out,
        }
        (CURVES / f"{name}.json").write_text(json.dumps(told, separators=(",", ":")) + "\n", encoding="utf-8")
        print(
            name,
            done.returncode,
            len(points),
            len(held_out),
            points[0],
            points[-1],
            held_out[-3:],
            flush=True,
        )


def _odd_row() -> str:
    luck = random.Random(0)
    noise = "".join(chr(luck.randrange(33, 126)) for _ in range(150))
    return json.dumps(
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": noise}]}
    )


if __name__ == "__main__":
    CURVES.mkdir(exist_ok=True)
    for each in sys.argv[1:] or RUNS:
        record(each)
