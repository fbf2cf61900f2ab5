"""Unsloth: a short Python script, because it is a library without a configuration file."""

from __future__ import annotations

import json
import math
from typing import Any

from engine.config.others.common import evaluation_batch, hugging_face
from engine.config.others.material import (
    TEMPLATE_FILE,
    flat,
    has_calls,
    packed_prompts,
    reward_files,
    reward_names,
)
from engine.config.others.table import GRPO, HUGGING_FACE, RLOO, Pair, Written, pairs, relevant_keys
from engine.display import printable
from engine.errors import UserError

TITLE, VERSION, FILE = "Unsloth", "2026.10.9", "train.py"
INSTALL = f'pip install "unsloth=={VERSION}"'
TRAINERS = {
    "sft": "SFT", "cpt": "SFT", "dpo": "DPO", "kto": "KTO", "orpo": "ORPO", "grpo": "GRPO", "rloo": "RLOO",
}  # fmt: skip

LOADING = (
    Pair("model_name_or_path", "model_name"),
    Pair("model_revision", "revision", lambda value: None if value == "main" else value),
    Pair("max_length", "max_seq_length"),
    *pairs("load_in_4bit", "load_in_8bit"),
)
ADAPTER = (
    Pair("lora_r", "r"),
    Pair("lora_target_modules", "target_modules"),
    *pairs("lora_alpha", "lora_dropout", "use_rslora"),
    Pair("use_dora", "use_dora", lambda value: value or None),
    Pair("lora_modules_to_save", "modules_to_save", lambda value: value or None),
    Pair("seed", "random_state"),
)
OWN: dict[str, tuple[Pair, ...]] = {
    "sft": pairs("loss_type"),
    "cpt": pairs("loss_type"),
    "dpo": (*pairs("beta", "label_smoothing"), Pair("loss_type", "loss_type", lambda value: [value])),
    "kto": pairs("beta", "loss_type", "desirable_weight", "undesirable_weight"),
    "orpo": pairs("beta"),
    "rloo": RLOO,
    "grpo": GRPO,
}


def write(job: Written) -> str:
    """Collect what the script says; `script` writes it down.

    Returns:
        The command that starts it.

    Raises:
        UserError: There is no script for the objective.
    """
    config, objective = job.config, job.config.method.objective
    if objective not in TRAINERS:
        raise UserError(
            "Reward models are not written as an Unsloth script.", f"objective {objective}", "Use --to trl."
        )
    training = config.training
    job.covered |= {
        "objective",
        "tuning",
        "train",
        "eval",
        "eval_fraction",
        "mapping",
        "format",
        "attn_implementation",
    }
    job.table((*HUGGING_FACE, *OWN[objective]), relevant_keys(config))
    job.covered |= {"gradient_checkpointing", "dtype", "warmup_ratio"}
    if objective in ("sft", "cpt", "dpo", "kto", "orpo"):
        job.put("max_length", training.max_length, "max_length")
    hugging_face(job)
    job.values.pop("train_sampling_strategy", None)
    if training.group_by_length:
        job.left_out(
            "group_by_length", "its name differs between the libraries Unsloth works with, so it is left out."
        )
    job.put("bf16", config.model.dtype == "bfloat16", "dtype")
    job.put("fp16", config.model.dtype == "float16")
    job.put("warmup_steps", math.ceil(_steps(job) * training.warmup_ratio), "warmup_ratio",
            why=f"{training.warmup_ratio:g} of about {_steps(job):,} steps")  # fmt: skip
    job.put("output_dir", "checkpoints")
    if objective in ("grpo", "rloo"):
        job.files |= reward_files(config)
        job.covered |= {
            "reward_funcs",
            "reward_file",
            "reward_pattern",
            "reward_tags",
            "reward_length",
            "max_length",
        }
        job.put("num_generations_eval", evaluation_batch(config))
        job.left_out("reward_time_limit", "a reward function that hangs keeps it waiting.")
    if config.preference.precompute_ref_log_probs:
        job.left_out("precompute_ref_log_probs", "Unsloth keeps the untrained model beside the trained one.")
    if config.model.dtype == "float32":
        job.notes.append(
            "Unsloth needs a GPU, and this run was made for a machine without one: make run.yaml anew where the GPU is."
        )
    _imitation(job)
    _several_cards(job)
    _template(job)
    job.covered |= {pair.ours for pair in (*LOADING, *ADAPTER)}
    return f"python {FILE}"


def _steps(job: Written) -> int:
    training, made = job.config.training, 1
    if training.max_steps > 0:
        return training.max_steps
    if job.config.method.objective in ("grpo", "rloo"):
        made = job.config.generation.num_generations or 1
    batch = (training.per_device_train_batch_size or 1) * (training.gradient_accumulation_steps or 1)
    rows = len(job.material.train) * made / (batch * (training.num_processes or 1))
    return max(1, math.ceil(rows * (training.num_train_epochs or 1)))


def _imitation(job: Written) -> None:
    if job.config.method.objective not in ("sft", "cpt"):
        return
    job.covered |= {"packing", "assistant_only_loss"}
    job.put("dataset_text_field", "text")
    job.put("packing", job.config.method.objective == "cpt")
    if job.config.training.packing and job.config.method.objective == "sft":
        job.left_out(
            "packing", "Unsloth's packing changes how many rows a step learns from, so it is left off."
        )
    if job.config.template.assistant_only_loss and job.material.conversational:
        job.notes.append(
            "Answers are found by what the template writes before them (train_on_responses_only); the script prints an example."
        )


def _several_cards(job: Written) -> None:
    training = job.config.training
    job.covered |= {"num_processes", "sharding"}
    processes = training.num_processes or 1
    if processes > 1:
        job.put("gradient_accumulation_steps", (training.gradient_accumulation_steps or 1) * processes,
                why=f"{processes} cards in finetui; one here, so that as many rows make a step")  # fmt: skip
        job.left_out("num_processes", "the script trains on one card, with as many more batches added up.")


def _template(job: Written) -> None:
    template = job.material.template
    job.covered.add("chat_template")
    if template.own or not job.material.conversational:
        return
    job.files[TEMPLATE_FILE] = template.text
    if template.missing:
        job.notes.append(
            f"finetui adds the tokens {', '.join(template.missing)} to the model and learns them; here they are ordinary text. Start "
            "from a model that has them."
        )


def data(job: Written) -> dict[str, list[dict[str, Any]]]:
    """Rows of ``data/``, by file name."""
    train, held_out = job.material.train, job.material.evaluation
    if job.config.method.objective in ("grpo", "rloo"):
        train, held_out = packed_prompts(train), packed_prompts(held_out)
    elif job.config.method.objective in ("dpo", "orpo", "kto"):
        train, held_out = [_plain(row) for row in train], [_plain(row) for row in held_out]
    elif has_calls([*train, *held_out]):
        train, held_out = [_packed(row) for row in train], [_packed(row) for row in held_out]
    return {"train.jsonl": train} | ({"test.jsonl": held_out} if held_out else {})


def _packed(row: dict[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(row.get(key) or [], ensure_ascii=False) for key in ("messages", "tools")}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: flat(value) if isinstance(value, list) and key != "tools" else value
        for key, value in row.items()
    }


def script(job: Written, head: list[str]) -> str:
    """The whole ``train.py``."""
    config, objective = job.config, job.config.method.objective
    name = TRAINERS[objective]
    responses = objective == "sft" and job.material.conversational and config.template.assistant_only_loss
    lines = [f"# {printable(line, 1000)}".rstrip() for line in head]
    if job.notes:
        lines += [
            "#",
            "# What is not the same as in finetui:",
            *(f"# - {printable(note, 1000)}" for note in job.notes),
        ]
    lines += ["", "from unsloth import FastLanguageModel  # first, so that it can speed up the others", ""]
    if has_calls([*job.material.train, *job.material.evaluation]):
        lines += ["import json", ""]
    if TEMPLATE_FILE in job.files:
        lines += ["from pathlib import Path", ""]
    lines += ["import torch", "from datasets import load_dataset"]
    if name == "ORPO":
        lines += [
            "",
            "try:",
            "    from trl import ORPOConfig, ORPOTrainer",
            "except ImportError:  # newer versions keep it here",
        ]
        lines += ["    from trl.experimental.orpo import ORPOConfig, ORPOTrainer"]
    else:
        lines += [f"from trl import {name}Config, {name}Trainer"]
    if responses:
        lines += ["from unsloth.chat_templates import train_on_responses_only"]
    if objective in ("grpo", "rloo"):
        lines += ["", "import rewards"]
    full = config.method.tuning != "lora"
    loading = _side(job, LOADING) | {"full_finetuning": full}
    loading["dtype"] = _Code(f"torch.{config.model.dtype or 'bfloat16'}")
    lines += ["", *_call("model, tokenizer = FastLanguageModel.from_pretrained", loading, job)]
    if config.method.tuning == "lora":
        adapter = _side(job, ADAPTER)
        adapter["use_gradient_checkpointing"] = "unsloth" if config.training.gradient_checkpointing else False
        lines += ["", *_call("model = FastLanguageModel.get_peft_model", adapter, job, "model")]
    elif config.method.tuning == "freeze":
        trained = config.method.freeze_trainable_layers or 2
        lines += ["", f"# The last {trained} layers only.", "model.requires_grad_(False)"]
        lines += [f"for layer in model.model.layers[-{trained}:]:", "    layer.requires_grad_(True)"]
        lines += ["model.model.norm.requires_grad_(True)"]
    if TEMPLATE_FILE in job.files:
        lines += ["", f'tokenizer.chat_template = Path("{TEMPLATE_FILE}").read_text("utf-8")']
    lines += ["", *_reading(job)]
    values = dict(job.values)
    if full:
        values["gradient_checkpointing"] = bool(config.training.gradient_checkpointing)
    lines += ["", *_call(f"arguments = {name}Config", values, job)]
    lines += [
        "",
        f"trainer = {name}Trainer(",
        "    model=model,",
        "    args=arguments,",
        "    processing_class=tokenizer,",
    ]
    lines += ['    train_dataset=rows["train"],', '    eval_dataset=rows.get("test"),']
    if objective in ("grpo", "rloo"):
        functions = ", ".join(f"rewards.{function}" for function in reward_names(config))
        lines += [f"    reward_funcs=[{functions}],"]
    lines += [")"]
    if responses:
        lines += ["trainer = train_on_responses_only(trainer)  # only what the assistant says is learnt"]
        lines += [
            'print(tokenizer.decode(trainer.train_dataset[0]["input_ids"]))  # look at what it learns from'
        ]
    lines += ["trainer.train()", 'model.save_pretrained("result")', 'tokenizer.save_pretrained("result")', ""]
    return "\n".join(lines)


class _Code(str):
    """Text that stands in the script as it is."""

    __slots__ = ()


def _side(job: Written, table: tuple[Pair, ...]) -> dict[str, Any]:
    found = {}
    for pair in table:
        value = job.get(pair.ours)
        value = None if value is None else pair.to(value)
        if value is not None:
            found[pair.theirs] = value
            if pair.ours in job.reasons:
                job.comments.setdefault(pair.theirs, job.reasons[pair.ours])
    return found


def _call(start: str, values: dict[str, Any], job: Written, first: str = "") -> list[str]:
    lines = [f"{start}("] + ([f"    {first},"] if first else [])
    for key, value in values.items():
        comment = f"  # {printable(job.comments[key], 300)}" if key in job.comments else ""
        lines.append(f"    {key}={value if isinstance(value, _Code) else repr(value)},{comment}")
    return [*lines, ")"]


def _reading(job: Written) -> list[str]:
    files = {"train": "data/train.jsonl"} | ({"test": "data/test.jsonl"} if job.material.evaluation else {})
    lines = [f'rows = load_dataset("json", data_files={files!r})']
    objective = job.config.method.objective
    if objective in ("sft", "cpt") and job.material.conversational:
        plain = 'row["messages"], tools=row.get("tools")'
        packed = 'json.loads(row["messages"]), tools=json.loads(row["tools"]) or None'
        calls = has_calls([*job.material.train, *job.material.evaluation])
        body = [
            f'    return {{"text": tokenizer.apply_chat_template({packed if calls else plain}, tokenize=False)}}'
        ]
        lines += [
            "",
            "",
            "def as_text(row):",
            *body,
            "",
            "",
            "rows = rows.map(as_text)",
        ]
    elif objective in ("sft", "cpt"):
        lines += [
            'rows = rows.map(lambda row: {"text": row["text"] + tokenizer.eos_token})  # each text has an end'
        ]
    return lines
