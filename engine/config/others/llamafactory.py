"""LLaMA-Factory: one YAML for ``llamafactory-cli train``, and ``dataset_info.json`` for its data."""

from __future__ import annotations

import json
from typing import Any

from engine.config.others.common import accelerated, hugging_face
from engine.config.others.material import TEMPLATE_FILE, flat
from engine.config.others.table import HUGGING_FACE, Pair, Written, pairs, relevant_keys
from engine.errors import UserError

TITLE, VERSION, FILE = "LLaMA-Factory", "0.9.5", "llamafactory.yaml"
INSTALL = f'pip install "llamafactory=={VERSION}" bitsandbytes'
MARKS = ("stage", "finetuning_type", "cutoff_len", "dataset_dir", "lora_rank", "lora_target", "template", "quantization_bit",
         "pref_loss", "pref_beta", "val_size", "flash_attn")  # fmt: skip
"""Keys that only files for this tool have."""
STAGES = {"sft": "sft", "cpt": "pt", "dpo": "dpo", "orpo": "dpo", "kto": "kto", "reward": "rm"}
ATTENTION = {"sdpa": "sdpa", "flash_attention_2": "fa2", "eager": "disabled"}
LOSSES = ("sigmoid", "ipo", "hinge")
TEMPLATES = {
    "chatml": "chatml", "llama2": "llama2", "llama3": "llama3", "llama3.1": "llama3", "llama3.2": "llama3", "llama4": "llama4",
    "qwen2.5": "qwen", "qwen3": "qwen3", "qwen3-instruct-2507": "qwen3_nothink", "qwen3.5": "qwen3_5",
    "qwen3.5-nothink": "qwen3_5_nothink", "qwen3.6": "qwen3_6", "gemma": "gemma", "gemma3": "gemma3", "gemma4": "gemma4",
    "phi3": "phi", "phi4": "phi4", "phi4-mini": "phi4_mini", "falcon": "falcon", "zephyr": "zephyr", "smollm2": "smollm2",
    "solar": "solar", "alpaca": "alpaca", "vicuna": "vicuna", "gpt-oss": "gpt_oss", "glm4": "glm4", "glm4-moe": "glm4_moe",
    "deepseek-r1": "deepseekr1", "deepseek-v3": "deepseek3", "cohere": "cohere", "lfm2": "lfm2",
}  # fmt: skip
"""Families of chat templates under both names."""
PLAIN = {"default", "empty"}


def modules(value: Any) -> str:
    """Names of layers in one string, as LLaMA-Factory takes them."""
    return value if isinstance(value, str) else ",".join(value)


def named(value: Any) -> list[str]:
    """Names of layers out of one string."""
    return [part.strip() for part in str(value).split(",") if part.strip()]


def attention(value: Any) -> str | None:
    """Our name of a way to compute attention; None where finetui shall choose."""
    return None if value == "auto" else {theirs: ours for ours, theirs in ATTENTION.items()}[value]


TABLE = (
    *pairs("model_name_or_path", "model_revision"),
    Pair("attn_implementation", "flash_attn", lambda value: ATTENTION[value], attention),
    Pair("bnb_4bit_quant_type", "quantization_type"),
    Pair("use_bnb_nested_quant", "double_quantization"),
    Pair("lora_r", "lora_rank"),
    *pairs("lora_alpha", "lora_dropout", "use_rslora", "use_dora", "loraplus_lr_ratio"),
    Pair(
        "lora_target_modules",
        "lora_target",
        lambda value: "all" if value == "all-linear" else modules(value),
        lambda value: "all-linear" if value == "all" else named(value),
    ),
    Pair("lora_modules_to_save", "additional_target", lambda value: modules(value) or None, named),
    *pairs("freeze_trainable_layers"),
    Pair("max_length", "cutoff_len"),
    *HUGGING_FACE,
    *pairs("warmup_ratio"),
    Pair(
        "gradient_checkpointing",
        "disable_gradient_checkpointing",
        lambda value: not value,
        lambda value: not value,
    ),
    Pair("use_liger_kernel", "enable_liger_kernel"),
)
PREFERRING = (Pair("beta", "pref_beta"),)
KTO = (
    Pair("desirable_weight", "kto_chosen_weight"),
    Pair("undesirable_weight", "kto_rejected_weight"),
)


def write(job: Written) -> str:
    """The configuration for LLaMA-Factory.

    Returns:
        The command that starts it, in the folder of the file.

    Raises:
        UserError: LLaMA-Factory does not know the objective.
    """
    config, objective = job.config, job.config.method.objective
    tuning, relevant = config.method.tuning, relevant_keys(job.config)
    if objective not in STAGES:
        raise UserError(
            "LLaMA-Factory has no training by reward functions.",
            f"objective {objective}",
            f"Use --to trl{' or --to axolotl' if objective == 'grpo' else ''}, which have it, or --to unsloth for a script.",
        )
    job.put("stage", STAGES[objective], "objective")
    job.put("do_train", True)
    job.put("finetuning_type", tuning, "tuning")
    job.put("trust_remote_code", False)
    if config.model.load_in_4bit or config.model.load_in_8bit:
        job.put("quantization_bit", 4 if config.model.load_in_4bit else 8, "load_in_4bit", "load_in_8bit")
        job.put("quantization_method", "bnb")
    job.covered |= {"load_in_4bit", "load_in_8bit"}
    job.table(TABLE, relevant)
    hugging_face(job)
    _precision(job)
    if objective in ("dpo", "orpo", "kto"):
        _preferring(job, relevant)
    if objective == "reward":
        job.left_out("center_rewards_coefficient", "LLaMA-Factory has no such setting, so scores may drift.")
        if config.watch.load_best_model_at_end:
            for key in ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"):
                job.values.pop(key, None)
            job.left_out(
                "load_best_model_at_end",
                "LLaMA-Factory refuses it for reward models, so the last step is the result.",
            )
    if objective in ("sft", "cpt"):
        _imitation(job)
    if config.watch.early_stopping_patience and "load_best_model_at_end" in job.values:
        job.put("early_stopping_steps", config.watch.early_stopping_patience, "early_stopping_patience")
        job.put("load_best_model_at_end", True)
        job.put("metric_for_best_model", "eval_loss")
    _template(job)
    job.covered |= {"train", "eval", "eval_fraction", "mapping", "format"}
    job.put("dataset_dir", "./data", why="dataset_info.json there says how the files are to be read.")
    job.put("dataset", "finetui_train")
    if job.material.evaluation:
        job.put("eval_dataset", "finetui_eval", why="The same rows that finetui holds out.")
    job.put("output_dir", "result")
    accelerated(job, "", TITLE)
    processes = config.training.num_processes or 1
    before = f"FORCE_TORCHRUN=1 NPROC_PER_NODE={processes} " if processes > 1 else ""
    return f"{before}llamafactory-cli train {FILE}"


def _precision(job: Written) -> None:
    dtype, tuning = job.config.model.dtype, job.config.method.tuning
    job.covered.add("dtype")
    if dtype == "bfloat16" and tuning != "lora":
        job.put(
            "pure_bf16",
            True,
            "dtype",
            why="Trained weights are in bfloat16 too, as in finetui; otherwise they would be float32.",
        )
    else:
        job.put("bf16", dtype == "bfloat16", "dtype")
        job.put("fp16", dtype == "float16")
    if dtype == "bfloat16" and tuning == "lora":
        job.notes.append(
            "finetui keeps the adapter in bfloat16 too; LLaMA-Factory holds it in float32, a little more memory."
        )


def _preferring(job: Written, relevant: set[str]) -> None:
    config, objective = job.config, job.config.method.objective
    job.table(PREFERRING + (KTO if objective == "kto" else ()), relevant)
    loss = config.method.loss_type
    job.covered |= {"loss_type", "label_smoothing", "precompute_ref_log_probs"}
    if objective == "orpo":
        job.put("pref_loss", "orpo")
    elif objective == "dpo" and loss in (None, *LOSSES):
        job.put("pref_loss", loss or "sigmoid", "loss_type")
    elif objective == "dpo":
        job.put("pref_loss", "sigmoid")
        job.left_out("loss_type", "LLaMA-Factory has no such loss; nearest is sigmoid.")
        if loss == "robust":
            job.put("dpo_label_smoothing", config.preference.label_smoothing, "label_smoothing")
            job.notes.append(
                "With sigmoid, dpo_label_smoothing is the conservative kind of DPO, a relative of robust."
            )
        elif config.preference.label_smoothing:
            job.left_out("label_smoothing", "it belongs to that loss.")
    elif loss not in (None, "kto"):
        job.left_out("loss_type", "LLaMA-Factory has only KTO's own loss.")
    if config.preference.precompute_ref_log_probs:
        job.left_out(
            "precompute_ref_log_probs",
            "LLaMA-Factory keeps the untrained model beside the trained one, which needs its memory once more.",
        )


def _imitation(job: Written) -> None:
    config = job.config
    text = not job.material.conversational
    job.covered |= {"assistant_only_loss", "packing", "loss_type"}
    if config.method.loss_type == "dft":
        job.put("use_dft_loss", True, "loss_type")
    if text and config.method.objective == "sft":
        job.put("stage", "pt", why="The data are texts, every word of which is learnt.")
    if text:
        job.put(
            "packing",
            config.method.objective == "cpt",
            why="Texts are cut into blocks of cutoff_len, as in finetui.",
        )
        return
    job.put("train_on_prompt", not config.template.assistant_only_loss, "assistant_only_loss")
    job.put("packing", False)
    if config.training.packing:
        job.left_out(
            "packing",
            "LLaMA-Factory's packing changes how many rows a step learns from, so it is left off: the same is learnt, slower.",
        )


def _template(job: Written) -> None:
    template = job.material.template
    job.covered.add("chat_template")
    if not job.material.conversational:
        job.put("template", "empty")
        return
    theirs = TEMPLATES.get(template.family)
    if theirs:
        job.put("template", theirs, "chat_template")
        job.notes.append(
            f"LLaMA-Factory writes conversations with its own template {theirs}, not with the model's file; compare the first example "
            "that it prints with: finetui data preview."
        )
    elif template.own:
        job.notes.append(
            "No template is named: LLaMA-Factory then reads the model's own one; look at the first example that it prints."
        )
    else:
        job.files[TEMPLATE_FILE] = template.text
        job.notes.append(
            f"LLaMA-Factory does not know this template: put {TEMPLATE_FILE} as chat_template.jinja into a copy of the model's folder and "
            "name that as model_name_or_path; it then reads the template from there."
        )
    if template.missing and not job.values.get("quantization_bit"):
        job.put("add_special_tokens", ",".join(template.missing), why="The template needs them.")
        job.put("resize_vocab", True)
        if job.config.method.tuning == "lora":
            saved = named(job.values.get("additional_target", ""))
            job.put("additional_target", ",".join(dict.fromkeys([*saved, "embed_tokens", "lm_head"])))
            job.notes.append(
                "finetui learns only the new tokens; here both embeddings are trained whole, which needs more memory."
            )
    elif template.missing:
        job.notes.append(
            f"finetui adds the tokens {', '.join(template.missing)} and learns them; LLaMA-Factory cannot do that with a quantized model."
        )


# ---- data: ShareGPT's form, which holds calls of tools as turns of their own


def data(job: Written) -> dict[str, Any]:
    """``dataset_info.json`` and the rows it tells of, by file name."""
    files: dict[str, Any] = {}
    about: dict[str, Any] = {}
    for name, rows in (("train", job.material.train), ("eval", job.material.evaluation)):
        if not rows:
            continue
        made = [converted for row in rows if (converted := _row(row)) is not None]
        if len(made) < len(rows):
            job.notes.append(
                f"{len(rows) - len(made):,} of {len(rows):,} rows ({name}) are left out: LLaMA-Factory needs turns of user and assistant in "
                "exchange, ending with one answer."
            )
        files[f"{name}.jsonl"] = made
        about[f"finetui_{name}"] = {"file_name": f"{name}.jsonl", **_described(rows[0])}
    files["dataset_info.json"] = json.dumps(about, indent=2) + "\n"
    return files


def _described(row: dict[str, Any]) -> dict[str, Any]:
    if "text" in row:
        return {"columns": {"prompt": "text"}}
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    if "chosen" in row:
        return {
            "formatting": "sharegpt",
            "ranking": True,
            "columns": columns | {"chosen": "chosen", "rejected": "rejected"},
        }
    if "label" in row:
        return {"formatting": "sharegpt", "columns": columns | {"kto_tag": "label"}}
    return {"formatting": "sharegpt", "columns": columns}


def _row(row: dict[str, Any]) -> dict[str, Any] | None:
    """A row in their form; None where they would skip it."""
    if "text" in row:
        return {"text": row["text"]}
    tools = json.dumps(row["tools"], ensure_ascii=False) if row.get("tools") else ""
    prompt = row["messages"] if "messages" in row else row["prompt"]
    system, turns = _turns(prompt + (row.get("completion") or []))
    answered = "messages" in row or "completion" in row
    if not turns or len(turns) % 2 != (0 if answered else 1) or not _alternate(turns):
        return None
    made: dict[str, Any] = {"conversations": turns, "system": system, "tools": tools}
    if "label" in row:
        made["label"] = bool(row["label"])
    for side in ("chosen", "rejected"):
        if side in row:
            answer = _turns(row[side])[1]
            if len(answer) != 1 or answer[0]["from"] not in ("gpt", "function_call"):
                return None
            made[side] = answer[0]
    return made


def _turns(messages: list[dict[str, Any]]) -> tuple[str, list[dict[str, str]]]:
    system = ""
    turns: list[dict[str, str]] = []
    for message, plain in zip(messages, flat(messages), strict=True):
        role, words = message["role"], plain["content"]
        if role == "system" and not turns:
            system = words
        elif role == "tool" and turns and turns[-1]["from"] == "observation":
            turns[-1]["value"] += f"\n</tool_response>\n<tool_response>\n{words}"
        elif role == "assistant" and message.get("tool_calls"):
            calls = [
                {key: call.get("function", call).get(key) for key in ("name", "arguments")}
                for call in message["tool_calls"]
            ]
            turns.append({"from": "function_call", "value": json.dumps(calls, ensure_ascii=False)})
        else:
            kind = {"user": "human", "assistant": "gpt", "tool": "observation"}.get(role, role)
            turns.append({"from": kind, "value": words})
    return system, turns


def _alternate(turns: list[dict[str, str]]) -> bool:
    sides = (("human", "observation"), ("gpt", "function_call"))
    return all(turn["from"] in sides[number % 2] for number, turn in enumerate(turns))
