"""Axolotl: one YAML for ``axolotl train``."""

from __future__ import annotations

import json
from typing import Any

from engine.config.others.common import MIN_RATE, accelerated, best_checkpoint
from engine.config.others.material import (
    REWARDS_FILE,
    TEMPLATE_FILE,
    has_calls,
    packed_prompts,
    reward_files,
    reward_names,
    tools_as_text,
)
from engine.config.others.table import GRPO, Pair, Written, pairs, relevant_keys
from engine.display import printable
from engine.errors import UserError

TITLE, VERSION, FILE = "Axolotl", "0.21.0", "axolotl.yaml"
INSTALL = f'pip install "axolotl=={VERSION}"'
MARKS = ("base_model", "micro_batch_size", "sequence_len", "adapter", "num_epochs", "sample_packing", "val_set_size",
         "lora_target_linear", "datasets", "optimizer", "rl")  # fmt: skip
"""Keys that only files for this tool have."""
METHODS = ("dpo", "kto", "orpo", "grpo")
PREFERENCE_COLUMNS = {"field_messages": "prompt", "field_chosen": "chosen", "field_rejected": "rejected"}

TABLE = (
    Pair("model_name_or_path", "base_model"),
    Pair("model_revision", "revision_of_model", lambda value: None if value == "main" else value),
    *pairs("attn_implementation", "load_in_4bit", "load_in_8bit"),
    *pairs("lora_r", "lora_alpha", "lora_dropout", "loraplus_lr_ratio"),
    Pair("use_rslora", "peft_use_rslora"),
    Pair("use_dora", "peft_use_dora"),
    Pair("lora_modules_to_save", "lora_modules_to_save", lambda value: value or None),
    Pair("max_length", "sequence_len"),
    Pair("per_device_train_batch_size", "micro_batch_size"),
    Pair("per_device_eval_batch_size", "eval_batch_size"),
    Pair("num_train_epochs", "num_epochs"),
    Pair("max_steps", "max_steps", lambda value: None if value < 0 else value),
    Pair("optim", "optimizer", lambda value: "adamw_bnb_8bit" if value == "adamw_8bit" else value,
         lambda value: "adamw_8bit" if value == "adamw_bnb_8bit" else value),
    *pairs("gradient_accumulation_steps", "learning_rate", "warmup_ratio", "weight_decay", "max_grad_norm"),
    *pairs("gradient_checkpointing", "neftune_noise_alpha", "group_by_length", "torch_compile", "seed"),
    *pairs("logging_steps", "eval_steps", "save_steps", "save_total_limit", "load_best_model_at_end"),
    Pair("early_stopping_patience", "early_stopping_patience", lambda value: value or None),
)  # fmt: skip
OWN: dict[str, tuple[Pair, ...]] = {
    "dpo": (
        Pair("beta", "rl_beta"),
        Pair("loss_type", "dpo_loss_type", lambda value: [value], lambda value: value[0]),
        Pair("label_smoothing", "dpo_label_smoothing"),
    ),
    "kto": (
        Pair("beta", "rl_beta"),
        Pair("desirable_weight", "kto_desirable_weight"),
        Pair("undesirable_weight", "kto_undesirable_weight"),
    ),
    "orpo": (Pair("beta", "orpo_alpha"),),
    "reward": pairs("center_rewards_coefficient"),
}


def write(job: Written) -> str:
    """The configuration for Axolotl.

    Returns:
        The command that starts it, in the folder of the file.

    Raises:
        UserError: Axolotl does not know the objective.
    """
    config, objective, tuning = job.config, job.config.method.objective, job.config.method.tuning
    if objective == "rloo":
        raise UserError(
            "Axolotl has no RLOO.",
            "objective rloo",
            "Use --to trl, or choose --objective grpo, which Axolotl has.",
        )
    relevant = relevant_keys(config)
    job.covered |= {"objective", "tuning", "train", "eval", "eval_fraction", "mapping", "format", "dtype"}
    job.table((*TABLE, *OWN.get(objective, ())), relevant)
    if tuning == "lora":
        job.put("adapter", "qlora" if config.model.load_in_4bit else "lora", "tuning")
        _targets(job)
    elif tuning == "freeze":
        _freeze(job)
    if config.model.load_in_4bit:
        quantized = {
            "bnb_4bit_quant_type": config.model.bnb_4bit_quant_type,
            "bnb_4bit_use_double_quant": config.model.use_bnb_nested_quant,
        }
        job.put("bnb_config_kwargs", quantized, "bnb_4bit_quant_type", "use_bnb_nested_quant")
    job.put("bf16", config.model.dtype == "bfloat16", "dtype")
    job.put("fp16", config.model.dtype == "float16")
    job.put("tf32", False)
    rule = config.training.lr_scheduler_type
    job.put("lr_scheduler", "cosine" if rule == "cosine_with_min_lr" else rule, "lr_scheduler_type")
    if rule == "cosine_with_min_lr":
        job.put("cosine_min_lr_ratio", MIN_RATE)
    _reports(job)
    if config.training.use_liger_kernel:
        job.put("plugins", ["axolotl.integrations.liger.LigerPlugin"], "use_liger_kernel")
        for part in ("rope", "rms_norm", "glu_activation", "fused_linear_cross_entropy"):
            job.put(f"liger_{part}", True)
    if objective in METHODS:
        job.put("rl", objective)
    elif objective == "reward":
        job.put("reward_model", True)
        job.put("num_labels", 1)
    _objective(job)
    _template(job)
    _datasets(job)
    job.put("excess_length_strategy", "drop" if objective == "reward" else "truncate",
            why="Rows beyond sequence_len are treated as finetui does.")  # fmt: skip
    job.put("output_dir", "./result")
    return f"AXOLOTL_DO_NOT_TRACK=1 axolotl train {FILE}" + accelerated(job, "", TITLE).replace(
        "--num_processes", "--num-processes"
    )


def _targets(job: Written) -> None:
    wanted = job.config.lora.lora_target_modules
    if wanted == "all-linear":
        job.put("lora_target_linear", True, "lora_target_modules")
    else:
        job.put("lora_target_modules", wanted, "lora_target_modules")


def _freeze(job: Written) -> None:
    """Axolotl takes the trained weights as patterns, for which the number of layers must be known."""
    from engine.fit.setup import architecture_of

    trained = job.config.method.freeze_trainable_layers or 2
    try:
        layers = architecture_of(job.config.model.model_name_or_path).layers
    except UserError:
        job.left_out(
            "freeze_trainable_layers",
            "the layers of this model could not be counted here: every weight is trained.",
        )
        return
    last = "|".join(str(number) for number in range(max(0, layers - trained), layers))
    job.put(
        "unfrozen_parameters", [rf"model\.layers\.({last})\.", r"model\.norm\."], "freeze_trainable_layers"
    )


def _reports(job: Written) -> None:
    job.covered.add("report_to")
    for name in job.config.watch.report_to:
        if name == "wandb":
            job.put("wandb_project", "finetui", "report_to")
        job.put(f"use_{name}", True, "report_to")
    if not job.material.evaluation:
        for key in ("eval_steps", "load_best_model_at_end", "early_stopping_patience"):
            job.values.pop(key, None)
    elif job.config.watch.load_best_model_at_end:
        best_checkpoint(job)


def _objective(job: Written) -> None:
    config, objective = job.config, job.config.method.objective
    if objective in ("sft", "cpt"):
        job.covered |= {"assistant_only_loss", "packing", "loss_type"}
        job.put("sample_packing", False)
        if job.material.conversational:
            job.put("train_on_inputs", not config.template.assistant_only_loss, "assistant_only_loss")
        if objective == "cpt":
            job.notes.append(
                "finetui lays texts one after the other and cuts them into blocks; Axolotl cuts each text by itself, so short texts stay "
                "short. With flash_attention_2, sample_packing: true fills the lines."
            )
        elif config.training.packing:
            job.left_out(
                "packing",
                "Axolotl's sample_packing changes how many rows a step learns from, so it is left off: the same is learnt, slower.",
            )
        if config.method.loss_type == "dft":
            job.left_out("loss_type", "Axolotl has no such loss; the usual one is used.")
    elif objective == "grpo":
        section: dict[str, Any] = {}  # Axolotl hands its section trl on
        for pair in GRPO:
            job.covered.add(pair.ours)
            if (value := job.get(pair.ours)) is not None:
                section[pair.theirs] = value
        job.files |= reward_files(config)
        section["reward_funcs"] = [f"rewards.{name}" for name in reward_names(config)]
        job.covered |= {"reward_funcs", "reward_file", "reward_pattern", "reward_tags", "reward_length"}
        job.put("trl", section, why=f"The reward functions are in {REWARDS_FILE}.")
        job.left_out("reward_time_limit", "a reward function that hangs keeps Axolotl waiting.")
    elif objective == "kto":
        job.put("remove_unused_columns", False)
        job.covered.add("loss_type")
    if objective == "kto" and config.method.loss_type not in (None, "kto"):
        job.left_out("loss_type", "Axolotl has only KTO's own loss.")
    if config.preference.precompute_ref_log_probs and objective in ("dpo", "kto"):
        job.left_out("precompute_ref_log_probs", "Axolotl keeps the untrained model beside the trained one.")


def _template(job: Written) -> None:
    template = job.material.template
    job.covered.add("chat_template")
    if not job.material.conversational:
        return
    if template.own:
        job.put("chat_template", "tokenizer_default", "chat_template")
    else:
        job.files[TEMPLATE_FILE] = template.text
        job.put("chat_template", "jinja", "chat_template")
        job.put("chat_template_jinja", f"./{TEMPLATE_FILE}")
    if template.end:
        job.put("eot_tokens", [template.end], why="The token that ends an answer is learnt too.")
    if template.missing:
        job.put("tokens", list(template.missing), why="The template needs them.")
        if job.config.method.tuning == "lora":
            saved = [*(job.values.get("lora_modules_to_save") or []), "embed_tokens", "lm_head"]
            job.put("lora_modules_to_save", list(dict.fromkeys(saved)))
            job.notes.append(
                "finetui learns only the new tokens; here both embeddings are trained whole, which needs more memory."
            )
    if template.end and not template.own:
        job.put("special_tokens", {"eos_token": template.end}, why="With it the model ends its answers.")


def _datasets(job: Written) -> None:
    objective = job.config.method.objective
    about: dict[str, Any] = {}
    if objective in ("sft", "cpt"):
        if job.material.conversational:
            learnt = (
                ["assistant"]
                if job.config.template.assistant_only_loss
                else ["system", "user", "assistant", "tool"]
            )
            about = {
                "type": "chat_template",
                "field_messages": "messages",
                "roles_to_train": learnt,
                "train_on_eos": "turn",
            }
        else:
            about = {"type": "completion", "field": "text"}
    elif objective == "dpo":
        about = {"type": "chat_template.default", **PREFERENCE_COLUMNS}
    elif objective == "orpo":
        about = {"type": "chat_template.argilla"}
    elif objective == "reward":
        about = {"type": "bradley_terry.chat_template.default"}
        if not any(_parts(row)[0] for row in job.material.train):
            about["drop_system_message"] = True  # it would write an empty one before every question
    job.put("datasets", [_file("train", about)])
    if job.material.evaluation:
        job.put("test_datasets", [_file("test", about)], why="The same rows that finetui holds out.")
    job.put("dataset_prepared_path", "./prepared")


def _file(name: str, about: dict[str, Any]) -> dict[str, Any]:
    return {"path": f"./data/{name}.jsonl", "split": "train", **about}


def data(job: Written) -> dict[str, list[dict[str, Any]]]:
    """Rows of ``data/``, by file name.

    Raises:
        UserError: Rows must be written with the model's template, and the model is not on this disk.
    """
    rows = {"train.jsonl": job.material.train, "test.jsonl": job.material.evaluation}
    convert = {"grpo": packed_prompts, "orpo": _orpo, "reward": _scored, "sft": _tools}.get(
        job.config.method.objective
    )
    made: dict[str, list[dict[str, Any]]] = {}
    for name, before in rows.items():
        if not before:
            continue
        made[name] = (
            _rendered(job, before)
            if job.config.method.objective == "kto"
            else convert(before)
            if convert
            else before
        )
        if len(made[name]) < len(before):
            job.notes.append(
                f"{len(before) - len(made[name]):,} of {len(before):,} rows ({name}) are left out: Axolotl needs plain questions and one "
                "answer here."
            )
    return made


def _tools(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tools and the arguments of calls as JSON text, which Axolotl reads, so that different ones fit into one column."""
    if not has_calls(rows):
        return rows
    return tools_as_text(
        row | {"messages": [_called(message) for message in row["messages"]]} for row in rows
    )


def _called(message: dict[str, Any]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call.get("function", call)
        arguments = json.dumps(function.get("arguments"), ensure_ascii=False)
        calls.append({"type": "function", "function": {"name": function.get("name"), "arguments": arguments}})
    return message | {"tool_calls": calls}


def _parts(row: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    prompt = row["prompt"]
    return (prompt[0]["content"], prompt[1:]) if prompt and prompt[0]["role"] == "system" else ("", prompt)


def _orpo(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for row in rows:
        system, turns = _parts(row)
        roles = [turn["role"] for turn in turns]
        plain = len(roles) % 2 == 1 and all(
            role == ("user", "assistant")[n % 2] for n, role in enumerate(roles)
        )
        if plain and len(row["chosen"]) == len(row["rejected"]) == 1:
            made.append(
                {"system": system, "chosen": turns + row["chosen"], "rejected": turns + row["rejected"]}
            )
    return made


def _scored(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for row in rows:
        system, turns = _parts(row)
        if len(turns) == len(row["chosen"]) == len(row["rejected"]) == 1:
            answers = {side: row[side][0]["content"] for side in ("chosen", "rejected")}
            made.append({"system": system, "input": turns[0]["content"], **answers})
    return made


def _rendered(job: Written, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prompts and answers as text, because Axolotl's KTO knows no chat templates."""
    from engine.data.render import Renderer

    config = job.config
    if job.material.folder is None:
        raise UserError(
            "Axolotl's KTO takes text that the chat template has written, and the model is not on this disk.",
            printable(config.model.model_name_or_path, 200),
            f"Fetch it first: finetui hub download {printable(config.model.model_name_or_path, 200)}",
        )
    renderer = Renderer(job.material.folder, config.template.chat_template, config.model.model_name_or_path)
    made = []
    for row in rows:
        prompt = renderer.render(row["prompt"], add_generation_prompt=True)
        whole = renderer.render(row["prompt"] + row["completion"])
        if whole.startswith(prompt):
            made.append({"prompt": prompt, "completion": whole[len(prompt) :], "label": bool(row["label"])})
    return made
