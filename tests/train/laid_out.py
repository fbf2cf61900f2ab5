"""Small trainings of the embedded model in the test's own process, with conversations of very different lengths."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from engine.config.draft import DEMO
from engine.config.schema import RunConfig
from engine.train import model as loading
from engine.train.objectives import core, load_objective
from engine.train.tokens import prepare_tokenizer


def conversations(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Conversations of one to five questions and answers of the demo, most of them short."""
    lines = (DEMO / "train.jsonl").read_text(encoding="utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    chance = random.Random(seed)
    return [
        {
            "messages": [
                m for pair in chance.sample(turns, min(5, int(chance.expovariate(1.0)) + 1)) for m in pair
            ]
        }
        for _ in range(count)
    ]


def config_of(**training: Any) -> RunConfig:
    """A short run of SFT in float32; keys of ``training``, ``tuning`` and ``attn_implementation`` may be given."""
    tuning = training.pop("tuning", "lora")
    attention = training.pop("attn_implementation", "sdpa")
    usual = {
        "max_length": 256,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
    }
    return RunConfig.model_validate(
        {
            "model": {"model_name_or_path": str(DEMO), "dtype": "float32", "attn_implementation": attention},
            "data": {"train": [{"path": str(DEMO / "train.jsonl")}]},
            "method": {"objective": "sft", "tuning": tuning},
            "training": usual | training,
            "watch": {"save_steps": 4},
        }
    )


def trainer_of(config: RunConfig, folder: Path, count: int = 48, resuming: bool = False) -> Any:
    """The trainer as a run builds it, on ``count`` conversations."""
    from datasets import Dataset

    objective = load_objective("sft")
    tokenizer = loading.load_tokenizer(config)
    prepare_tokenizer(tokenizer, "model", True)
    made = objective.prepare(conversations(count), tokenizer, config, True)
    model = loading.load_model(config)
    args = core.arguments(config, str(folder), False, resuming)
    return core.build(config, model, tokenizer, Dataset.from_list(made.rows), None, args, [])


def losses(trainer: Any) -> list[float]:
    """The logged loss of each step."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
