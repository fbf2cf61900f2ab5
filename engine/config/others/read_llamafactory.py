"""Reading a LLaMA-Factory file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from engine.config.others.common import packing_back, report_back
from engine.config.others.llamafactory import KTO, LOSSES, PREFERRING, STAGES, TABLE, TITLE, named
from engine.config.others.reading import Reading

DEFAULTS = {
    "lora_r": 8, "lora_dropout": 0.0, "lora_target_modules": "all-linear", "max_length": 2048, "learning_rate": 5e-5,
    "num_train_epochs": 3.0, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "lr_scheduler_type": "linear",
    "warmup_ratio": 0.0, "max_grad_norm": 1.0, "weight_decay": 0.0, "seed": 42, "gradient_checkpointing": True,
}  # fmt: skip
"""What LLaMA-Factory uses where a file says nothing, by our key."""
_FOLDERS = "finetui keeps runs in its own folder"
_OWN = "finetui decides it by itself"
LEFT_OUT = {
    "do_train": "finetui always trains", "do_eval": "finetui measures on held-out rows every eval_steps",
    "output_dir": _FOLDERS, "overwrite_output_dir": _FOLDERS, "overwrite_cache": _OWN, "preprocessing_num_workers": _OWN,
    "dataloader_num_workers": _OWN, "plot_loss": "finetui draws the curves itself", "bf16": "finetui tells it from dtype",
    "fp16": "finetui tells it from dtype", "pure_bf16": "finetui tells it from dtype",
    "quantization_method": "finetui quantizes with bitsandbytes", "eval_strategy": "finetui measures every eval_steps",
    "save_strategy": "finetui saves every save_steps", "ddp_timeout": _OWN, "include_num_input_tokens_seen": _OWN,
    "trust_remote_code": "finetui never runs code that comes with a model", "save_only_model": "finetui saves what a resume needs",
    "template": "finetui takes the model's own chat template, which is its equivalent; choose another with --chat_template",
    "enable_thinking": "finetui learns the thinking that the rows hold", "upcast_layernorm": _OWN, "resize_vocab": _OWN,
    "add_special_tokens": "finetui adds what the chat template needs", "deepspeed": "finetui splits models with sharding: fsdp",
    "neat_packing": "finetui packs by its own rule", "mask_history": "finetui learns every answer of a conversation",
    "resume_from_checkpoint": "a run cannot be resumed in another tool",
}  # fmt: skip


def read(reading: Reading) -> None:
    """Take what a LLaMA-Factory file says."""
    stage, tuning = str(reading.pop("stage", "sft")), str(reading.pop("finetuning_type", "lora"))
    loss = str(reading.pop("pref_loss", "sigmoid"))
    objective = {stages: ours for ours, stages in STAGES.items() if ours != "orpo"}.get(stage, stage)
    if stage == "dpo" and loss == "orpo":
        objective = "orpo"
    elif stage == "dpo" and loss in LOSSES:
        reading.take("loss_type", loss, "pref_loss")
    elif stage == "dpo":
        reading.leave("pref_loss", loss, "finetui has no such loss")
    reading.take("objective", reading.asked or objective, "stage")
    reading.take("tuning", tuning, "finetuning_type")
    bits = reading.pop("quantization_bit", None)
    if bits == 4:
        reading.take("load_in_4bit", True, "quantization_bit")
    elif bits == 8:
        reading.take("load_in_8bit", True, "quantization_bit")
    elif bits is not None:
        reading.leave("quantization_bit", bits, "finetui loads in 4 or 8 bits")
    if bits is None:
        reading.take("load_in_4bit", False, "no quantization_bit")
    if reading.tree.get("pure_bf16"):
        reading.take("dtype", "bfloat16", "pure_bf16")
    own = (PREFERRING if objective in ("dpo", "orpo", "kto") else ()) + (KTO if objective == "kto" else ())
    reading.pairs((*TABLE, *own), skip={"lora"} if tuning != "lora" else set())
    if "train_on_prompt" in reading.tree:
        reading.take("assistant_only_loss", not reading.pop("train_on_prompt"), "train_on_prompt")
    if reading.pop("use_dft_loss", False):
        reading.take("loss_type", "dft", "use_dft_loss")
    if objective == "sft":
        packing_back(reading, "packing", TITLE)
    reading.take_if("early_stopping_patience", "early_stopping_steps")
    report_back(reading)
    _datasets(reading)
    weights = {"desirable_weight": 1.0, "undesirable_weight": 1.0} if objective == "kto" else {}
    reading.defaults(DEFAULTS | weights, TITLE, tuning == "lora")
    if tuning == "lora" and "lora_alpha" not in reading.taken:
        reading.take(
            "lora_alpha", 2 * int(reading.taken["lora_r"]), "twice lora_rank, the default of LLaMA-Factory"
        )
    reading.rest(LEFT_OUT, TITLE)


def _datasets(reading: Reading) -> None:
    folder, samples = str(reading.pop("dataset_dir", "data")), reading.pop("max_samples", None)
    for theirs, ours in (("dataset", "train"), ("eval_dataset", "eval")):
        told = reading.pop(theirs, None)
        names = named(told) if isinstance(told, str) else list(told or ())
        if names:
            reading.sources(ours, [_source(reading, folder, str(name), samples) for name in names], theirs)
    size = reading.pop("val_size", None)
    if size is None:
        if "eval" not in reading.taken:
            reading.take("eval_fraction", 0.0, "no val_size")
    elif isinstance(size, int | float) and 0 <= size <= 0.5:
        reading.take("eval_fraction", float(size), "val_size")
    else:
        reading.leave("val_size", size, "finetui holds out a share of the rows (eval_fraction, up to 0.5)")


def _source(reading: Reading, folder: str, name: str, samples: Any) -> dict[str, Any]:
    where = Path(reading.place(folder)) / "dataset_info.json"
    try:
        about = json.loads(where.read_text("utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError):
        reading.notes.append(
            f"dataset {name}: {where} does not tell what it is; name the file or Hub id with --data."
        )
        return {}
    if not isinstance(about, dict):
        return {}
    path = about.get("hf_hub_url") or about.get("file_name")
    if not about.get("hf_hub_url") and path:
        path = str(where.parent / str(path))
    columns = about.get("columns") if isinstance(about.get("columns"), dict) else {}
    roles = {"query": "input", "response": "completion", "kto_tag": "label"}
    mapping = {
        roles.get(key, key): value
        for key, value in (columns or {}).items()
        if key not in ("images", "videos", "audios")
    }
    reading.unknown_in(
        f"dataset_info.{name}", about,
        {"file_name", "hf_hub_url", "columns", "formatting", "ranking", "subset", "split", "num_samples", "tags"}, TITLE,
    )  # fmt: skip
    wanted = samples or about.get("num_samples")
    return {
        "path": path,
        "config": about.get("subset"),
        "split": about.get("split"),
        "sample": math.floor(wanted) if isinstance(wanted, int | float) else None,
        "mapping": mapping if mapping and "conversations" not in mapping.values() else None,
    }
