"""Small trained models of many kinds, made without training: random bases, and adapters with random numbers that are not zero."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config.draft import DEMO
from engine.config.loading import load
from engine.config.writing import to_yaml
from engine.deliver.export.job import Cancelled
from engine.deliver.source import Trained, find_trained
from engine.run.layout import RunDir, create

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 3,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
VOCABULARY = 1280


def base_model(
    folder: Path,
    kind: str = "llama",
    dtype: str = "float32",
    shard: str = "50GB",
    vocab_size: int = VOCABULARY,
    **config: Any,
) -> Path:
    """A random model with the demo's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    made = AutoConfig.for_model(kind, **{**SIZES, "vocab_size": vocab_size, **config})
    model = AutoModelForCausalLM.from_config(made, dtype=getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=shard)
    AutoTokenizer.from_pretrained(DEMO).save_pretrained(folder)
    return folder


def tuned_run(
    base: Path,
    name: str = "tuned",
    attach: Callable[[Any], Any] | None = None,
    add_tokens: int = 0,
    auto_model: str = "AutoModelForCausalLM",
    objective: str = "sft",
    **lora: Any,
) -> tuple[RunDir, Trained]:
    """A finished run whose adapter has random numbers.

    Args:
        base: The base model.
        name: Of the run.
        attach: Makes a PEFT model of the base; None attaches LoRA with the settings of `lora`.
        add_tokens: New tokens of the tokenizer.
        auto_model: Class that loads the base.
        objective: Of the run.
        lora: Settings of PEFT's LoraConfig.
    """
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    scores = {"num_labels": 1} if "Sequence" in auto_model else {}
    model = getattr(transformers, auto_model).from_pretrained(base, dtype=torch.float32, **scores)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    if add_tokens:
        tokenizer.add_special_tokens({"extra_special_tokens": [f"<|new{n}|>" for n in range(add_tokens)]})
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    settings = {"target_modules": "all-linear", "r": 4, "lora_alpha": 8, **lora}
    task = "SEQ_CLS" if scores else "CAUSAL_LM"
    tuned = attach(model) if attach else get_peft_model(model, LoraConfig(task_type=task, **settings))
    with torch.no_grad():
        for value in tuned.parameters():
            if value.requires_grad:
                value += torch.randn_like(value) * (0.02 if value.dim() > 1 else 0.1)
    run = create(name)
    run.config.write_text(run_yaml(base, objective))
    tuned.save_pretrained(run.adapter)
    tokenizer.save_pretrained(run.adapter)
    return run, find_trained(run)


def run_yaml(base: Path | str, objective: str = "sft", tuning: str = "lora") -> str:
    """The demo's recipe with another model."""
    config = load(DEMO / "run.yaml")
    model = config.model.model_copy(update={"model_name_or_path": str(base)})
    method = config.method.model_copy(update={"objective": objective, "tuning": tuning})
    return to_yaml(config.model_copy(update={"model": model, "method": method}))


class Told:
    """Listens to an export; stops it at a share of its bytes when asked to."""

    def __init__(self, stop_at: float | None = None) -> None:
        self.steps: list[str] = []
        self.said: list[str] = []
        self.bytes: list[tuple[int, int]] = []
        self.stop_at = stop_at

    def step(self, words: str) -> None:
        self.steps.append(words)

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        self.bytes.append((done_bytes, total_bytes))
        if self.stop_at is not None and done_bytes >= self.stop_at * total_bytes:
            raise Cancelled

    def say(self, words: str) -> None:
        self.said.append(words)

    def check(self) -> None: ...


def logits(model: Any, tokens: int = VOCABULARY) -> Any:
    """Of some fixed rows of tokens, in float32."""
    import torch

    ids = torch.arange(2 * 24).reshape(2, 24) * 37 % tokens
    with torch.inference_mode():
        return model.eval().float()(input_ids=ids).logits


def adapted(base: Path, adapter: Path, auto_model: str = "AutoModelForCausalLM") -> Any:
    """Base and adapter as PEFT runs them, in float32."""
    import torch
    import transformers
    from peft import PeftModel

    scores = {"num_labels": 1} if "Sequence" in auto_model else {}
    model = getattr(transformers, auto_model).from_pretrained(base, dtype=torch.float32, **scores)
    rows = len(transformers.AutoTokenizer.from_pretrained(adapter))
    if rows > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return PeftModel.from_pretrained(model, adapter)


def index_of(folder: Path) -> dict[str, str]:
    """Which tensor is in which file."""
    index = folder / "model.safetensors.index.json"
    found: dict[str, str] = json.loads(index.read_text())["weight_map"]
    return found
