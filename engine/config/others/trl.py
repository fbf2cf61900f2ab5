"""TRL's command line: ``trl sft --config trl.yaml`` and its siblings for dpo, kto, grpo, rloo and reward."""

from __future__ import annotations

from typing import Any

from engine.config.others.common import (
    accelerated,
    evaluation_batch,
    hugging_face,
    no_freezing,
    seen_precision,
    warmup_back,
)
from engine.config.others.material import (
    REWARDS_FILE,
    TEMPLATE_FILE,
    one_answer,
    packed_prompts,
    reward_files,
    reward_names,
    tools_as_text,
)
from engine.config.others.table import GRPO, HUGGING_FACE, RLOO, Pair, Written, pairs, relevant_keys
from engine.errors import UserError

TITLE, VERSION, FILE = "TRL", "1.16.0", "trl.yaml"
INSTALL = f'pip install "trl=={VERSION}" peft bitsandbytes'
COMMANDS = {name: name for name in ("sft", "dpo", "kto", "grpo", "rloo", "reward")} | {"cpt": "sft"}
MARKS = (
    "use_peft",
    "dataset_name",
    "dataset_train_split",
    "lora_task_type",
    "dataset_test_split",
    "use_bnb_nested_quant",
)
"""Keys that only files for this tool have."""


def listed(value: Any) -> Any:
    """One name as a list of one, as TRL takes it."""
    return [value] if isinstance(value, str) else value


def single(value: Any) -> Any:
    """A list of one as its only item, as run.yaml has it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


TABLE = (
    *pairs("model_name_or_path", "model_revision", "dtype", "attn_implementation"),
    *pairs("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "use_bnb_nested_quant"),
    *pairs("lora_r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora"),
    Pair("lora_target_modules", "lora_target_modules", listed, single),
    Pair("lora_modules_to_save", "lora_modules_to_save", lambda value: value or None),
    *HUGGING_FACE,
    *pairs("gradient_checkpointing", "use_liger_kernel"),
    Pair("warmup_ratio", "warmup_steps", back=warmup_back),
)
OWN: dict[str, tuple[Pair, ...]] = {
    "sft": pairs("loss_type", "max_length"),
    "cpt": pairs("loss_type", "max_length"),
    "dpo": (
        *pairs("beta", "label_smoothing", "precompute_ref_log_probs", "max_length"),
        Pair("loss_type", "loss_type", listed, single),
    ),
    "kto": pairs(
        "beta",
        "loss_type",
        "desirable_weight",
        "undesirable_weight",
        "precompute_ref_log_probs",
        "max_length",
    ),
    "reward": (
        Pair("center_rewards_coefficient", "center_rewards_coefficient", lambda value: value or None),
        *pairs("max_length"),
    ),
    "rloo": RLOO,
    "grpo": GRPO,
}


def write(job: Written) -> str:
    """The configuration for TRL.

    Returns:
        The command that starts it, in the folder of the file.

    Raises:
        UserError: TRL's command line does not know the objective.
    """
    config, objective = job.config, job.config.method.objective
    if objective == "orpo":
        raise UserError(
            "TRL's command line has no ORPO.",
            "objective orpo",
            "Use --to llamafactory or --to axolotl, which have it, or --to unsloth for a script.",
        )
    relevant = relevant_keys(config)
    job.put("use_peft", config.method.tuning == "lora", "tuning")
    if config.method.tuning == "freeze":
        no_freezing(job, TITLE)
    job.table((*TABLE, *OWN[objective]), relevant)
    job.covered.add("objective")
    hugging_face(job)
    seen_precision(job)
    if objective == "reward" and config.method.tuning == "lora":
        job.put("lora_task_type", "SEQ_CLS")
    if objective in ("sft", "cpt"):
        _imitation(job)
    elif objective in ("grpo", "rloo"):
        _rewards(job)
    _template(job)
    for key in ("train", "eval", "eval_fraction", "mapping", "format"):
        job.covered.add(key)
    job.put(
        "dataset_name",
        "./data",
        why="finetui's rows as TRL reads them: train.jsonl and the held-out test.jsonl",
    )
    job.put("output_dir", "result")
    processes = accelerated(job, "--accelerate_config fsdp2", TITLE)
    return f"trl {COMMANDS[objective]} --config {FILE}{processes}"


def data(job: Written) -> dict[str, list[dict[str, Any]]]:
    """Rows of ``data/``, by file name; their names tell datasets which split they are."""
    train, held_out = job.material.train, job.material.evaluation
    if job.config.method.objective in ("grpo", "rloo"):
        train, held_out = packed_prompts(train), packed_prompts(held_out)
    elif _split_answers(job):
        train, held_out = _answers_apart(train), _answers_apart(held_out)
    train, held_out = tools_as_text(train), tools_as_text(held_out)
    return {"train.jsonl": train} | ({"test.jsonl": held_out} if held_out else {})


def _split_answers(job: Written) -> bool:
    """Prompt and answer go into two columns, so that only the answer is learnt, with any template."""
    return (
        job.config.method.objective == "sft"
        and job.material.conversational
        and job.config.template.assistant_only_loss
        and one_answer([*job.material.train, *job.material.evaluation])
    )


def _answers_apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": row["messages"][:-1],
            "completion": row["messages"][-1:],
            **({"tools": row["tools"]} if row.get("tools") else {}),
        }
        for row in rows
    ]


def _imitation(job: Written) -> None:
    only = job.config.template.assistant_only_loss and job.material.conversational
    job.covered |= {"assistant_only_loss", "packing"}
    if job.config.method.objective == "cpt":
        job.put(
            "packing", True, why="Texts are laid one after the other and cut into blocks, as finetui does."
        )
        job.put("packing_strategy", "wrapped")
        job.put("eval_packing", True)
        return
    job.put("packing", False)
    if job.config.training.packing:
        job.left_out(
            "packing",
            "TRL's packing changes how many rows a step learns from, so it is left off: the same is learnt, slower.",
        )
    if not only:
        return
    if _split_answers(job):
        job.put(
            "completion_only_loss", True, why="Only answers are learnt; they are in a column of their own."
        )
    else:
        job.put("assistant_only_loss", True, why="Only what the assistant says is learnt.")
        if not job.material.template.marked:
            job.notes.append(
                "These conversations have several answers each, and TRL learns all of them only with a template that has "
                "{% generation %} marks. It knows the usual templates; if it refuses this one, give it a marked copy with "
                "chat_template_path."
            )


def _rewards(job: Written) -> None:
    job.files |= reward_files(job.config)
    job.covered |= {"reward_funcs", "reward_file", "reward_pattern", "reward_tags", "reward_length"}
    job.put(
        "reward_funcs",
        [f"rewards.{name}" for name in reward_names(job.config)],
        why=f"They are in {REWARDS_FILE}.",
    )
    job.put("num_generations_eval", evaluation_batch(job.config))
    job.left_out("max_length", "TRL has no such limit for prompts: long ones are neither cut nor left out.")
    job.left_out("reward_time_limit", "a reward function that hangs keeps TRL waiting.")


def _template(job: Written) -> None:
    template, objective = job.material.template, job.config.method.objective
    job.covered.add("chat_template")
    marked = job.values.get("assistant_only_loss") and template.marked
    if template.own and not marked:
        return
    if objective not in ("sft", "reward"):
        job.notes.append(
            f"trl {COMMANDS[objective]} takes the template of the model only, and this run uses another one: put "
            f"{TEMPLATE_FILE} as chat_template.jinja into a copy of the model's folder and name that as model_name_or_path."
        )
        job.files[TEMPLATE_FILE] = template.text
        return
    job.files[TEMPLATE_FILE] = template.marked or template.text
    job.put("chat_template_path", f"./{TEMPLATE_FILE}", "chat_template")
    if template.missing:
        job.notes.append(
            f"finetui adds the tokens {', '.join(template.missing)} to the model and lets it learn them; TRL does not, so there "
            "they are written as ordinary text. Start from a model that has them, or choose another template."
        )
    elif template.end and not template.own:
        job.put("eos_token", template.end, why="With it the model ends its answers.")
