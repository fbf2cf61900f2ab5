"""Reading an Axolotl file."""

from __future__ import annotations

from typing import Any

from engine.config.others.axolotl import OWN, TABLE, TITLE
from engine.config.others.common import MIN_RATE, packing_back, report_back
from engine.config.others.llamafactory import named
from engine.config.others.reading import Reading
from engine.config.others.table import GRPO
from engine.display import printable

DEFAULTS = {
    "max_length": 512, "num_train_epochs": 1.0, "gradient_accumulation_steps": 1, "lr_scheduler_type": "cosine",
    "lora_dropout": 0.0, "gradient_checkpointing": False, "eval_fraction": 0.0,
}  # fmt: skip
"""What Axolotl uses where a file says nothing, by our key."""
_OWN, _FOLDERS = "finetui decides it by itself", "finetui keeps runs in its own folder"
LEFT_OUT = {
    "evals_per_epoch": "finetui counts steps: set eval_steps", "saves_per_epoch": "finetui counts steps: set save_steps",
    "output_dir": _FOLDERS, "dataset_prepared_path": _FOLDERS, "tf32": _OWN, "bf16": "finetui tells it from dtype",
    "fp16": "finetui tells it from dtype", "model_type": _OWN, "tokenizer_type": _OWN, "tokenizer_config": _OWN,
    "is_llama_derived_model": _OWN, "strict": "finetui is always strict", "pad_to_sequence_len": _OWN, "eval_sample_packing": _OWN,
    "chat_template": "finetui takes the model's own chat template; choose another with --chat_template",
    "special_tokens": "finetui adds what the chat template needs", "tokens": "finetui adds what the chat template needs",
    "eot_tokens": "finetui learns the end of every answer", "wandb_entity": "set WANDB_ENTITY", "wandb_watch": "not in finetui",
    "wandb_name": "the run's own name is used", "wandb_log_model": "not in finetui", "wandb_project": "set WANDB_PROJECT",
    "eval_table_size": _OWN, "trust_remote_code": "finetui never runs code that comes with a model", "debug": _OWN, "fsdp": _OWN,
    "deepspeed": "finetui splits models with sharding: fsdp", "fsdp_config": "say sharding: fsdp", "local_rank": _OWN,
    "shuffle_merged_datasets": "finetui shuffles while training", "num_labels": "a reward model has one",
    "gradient_checkpointing_kwargs": _OWN, "excess_length_strategy": "finetui cuts long rows",
}  # fmt: skip


def read(reading: Reading) -> None:
    """Take what an Axolotl file says."""
    tree = reading.tree
    method, scores = str(reading.pop("rl", "") or ""), reading.pop("reward_model", False)
    objective = reading.asked or method or ("reward" if scores else "sft")
    if method == "ipo":
        objective = "dpo"
        reading.take("loss_type", "ipo", "rl")
    types = _datasets(reading)
    if objective == "sft" and types and types <= {"completion", "pretrain"}:
        objective = "cpt"
    reading.take("objective", objective, "rl" if method else "the type of the datasets")
    adapter = reading.pop("adapter", None)
    if adapter not in (None, "lora", "qlora"):
        reading.leave("adapter", adapter, "finetui has LoRA and QLoRA")
    reading.take("tuning", "full" if adapter is None else "lora", "adapter")
    if adapter != "qlora" and not tree.get("load_in_4bit"):
        reading.take("load_in_4bit", False, "adapter")
    for flag, name in (
        ("flash_attention", "flash_attention_2"),
        ("sdp_attention", "sdpa"),
        ("eager_attention", "eager"),
    ):
        if reading.pop(flag, False):
            reading.take("attn_implementation", name, flag)
    reading.pairs((*TABLE, *OWN.get(objective, ())), skip=set() if adapter else {"lora"})
    _rest_of_table(reading, objective)
    report_back(reading)
    weights = {"desirable_weight": 1.0, "undesirable_weight": 1.0} if objective == "kto" else {}
    reading.defaults(DEFAULTS | weights, TITLE, adapter is not None)
    reading.rest(LEFT_OUT, TITLE)


def _rest_of_table(reading: Reading, objective: str) -> None:
    tree = reading.tree
    if reading.pop("lora_target_linear", False):
        reading.take("lora_target_modules", "all-linear", "lora_target_linear")
        reading.pop("lora_target_modules")
    elif isinstance(targets := reading.pop("lora_target_modules", None), str | list):
        reading.take(
            "lora_target_modules",
            named(targets) if isinstance(targets, str) else targets,
            "lora_target_modules",
        )
    rule, least = reading.pop("lr_scheduler", None), reading.pop("cosine_min_lr_ratio", None)
    if rule == "cosine" and least is not None:
        rule = "cosine_with_min_lr"
        if least != MIN_RATE:
            reading.leave(
                "cosine_min_lr_ratio", least, f"finetui's cosine_with_min_lr ends at {MIN_RATE} of the rate"
            )
    elif least is not None:
        reading.leave("cosine_min_lr_ratio", least, "only the rule cosine has it")
    reading.take("lr_scheduler_type", rule, "lr_scheduler")
    reports = [name for name in ("wandb", "tensorboard", "trackio") if reading.pop(f"use_{name}", False)]
    if tree.get("wandb_project") and "wandb" not in reports:
        reports.append("wandb")
    if reports:
        reading.take("report_to", reports, "the reports")
    if objective == "sft":
        if "train_on_inputs" in tree:
            reading.take("assistant_only_loss", not reading.pop("train_on_inputs"), "train_on_inputs")
        packing_back(reading, "sample_packing", TITLE)
    quantized = reading.pop("bnb_config_kwargs", None) or {}
    if isinstance(quantized, dict):
        reading.take("bnb_4bit_quant_type", quantized.get("bnb_4bit_quant_type"), "bnb_config_kwargs")
        reading.take("use_bnb_nested_quant", quantized.get("bnb_4bit_use_double_quant"), "bnb_config_kwargs")
        reading.unknown_in(
            "bnb_config_kwargs", quantized, {"bnb_4bit_quant_type", "bnb_4bit_use_double_quant"}, TITLE
        )
    section = reading.pop("trl", None)
    if isinstance(section, dict) and section:
        known = {pair.theirs: pair.ours for pair in GRPO}
        for theirs, value in section.items():
            if theirs in known:
                reading.take(known[theirs], value, f"trl.{theirs}")
            elif theirs == "reward_funcs":
                reading.leave(
                    "trl.reward_funcs", value, "put your functions into a file and name it with reward_file"
                )
            else:
                reading.leave(f"trl.{theirs}", value, "finetui has no counterpart")
    plugins = reading.pop("plugins", None) or []
    if any("liger" in str(plugin) for plugin in plugins):
        reading.take("use_liger_kernel", True, "plugins")
    for plugin in plugins:
        if "liger" not in str(plugin):
            reading.leave("plugins", plugin, "finetui has no plugins")


def _datasets(reading: Reading) -> set[str]:
    """Take the datasets; the types they are read as."""
    types: set[str] = set()
    for theirs, ours in (("datasets", "train"), ("test_datasets", "eval")):
        sources = []
        for item in reading.pop(theirs, None) or ():
            if isinstance(item, dict):
                kind = item.get("type")
                types |= {str(kind)} if ours == "train" else set()
                sources += _sources(reading, theirs, item)
        reading.sources(ours, sources, theirs)
    size = reading.pop("val_set_size", None)
    if isinstance(size, int | float) and 0 <= size <= 0.5:
        reading.take("eval_fraction", float(size), "val_set_size")
    elif size is not None:
        reading.leave(
            "val_set_size", size, "finetui holds out a share of the rows (eval_fraction, up to 0.5)"
        )
    return types


def _sources(reading: Reading, theirs: str, item: dict[str, Any]) -> list[dict[str, Any]]:
    files = item.get("data_files")
    paths = [files] if isinstance(files, str) else files if isinstance(files, list) else [item.get("path")]
    known = {"path", "data_files", "split", "name", "type", "ds_type", "revision", "weight"}
    mapping = {}
    for key, role in (
        ("field_messages", "messages"),
        ("field", "text"),
        ("field_chosen", "chosen"),
        ("field_rejected", "rejected"),
    ):
        if isinstance(item.get(key), str):
            known.add(key)
            if key != "field_messages" or "field_chosen" not in item:
                mapping[role] = item[key]
    kind = item.get("type")
    if isinstance(kind, dict):
        roles = {
            "field_instruction": "prompt",
            "field_input": "input",
            "field_output": "completion",
            "field_system": "system",
        }
        mapping |= {
            roles[key]: value for key, value in kind.items() if key in roles and isinstance(value, str)
        }
        reading.unknown_in(f"{theirs}.type", kind, set(roles), TITLE)
    elif kind:
        reading.notes.append(
            f"{theirs}.type: {printable(kind, 60)} is not needed: finetui recognises how rows are laid out."
        )
    reading.unknown_in(theirs, item, known, TITLE)
    shared = {
        "split": item.get("split"),
        "config": item.get("name"),
        "revision": item.get("revision"),
        "weight": item.get("weight"),
    }
    return [{"path": path, "mapping": mapping, **shared} for path in paths]
