"""Reading a TRL file."""

from __future__ import annotations

from typing import Any

from engine.config.others.common import packing_back, report_back
from engine.config.others.reading import Reading
from engine.config.others.trl import OWN, TABLE, TITLE

DEFAULTS = {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_train_epochs": 3.0, "lr_scheduler_type": "linear",
    "warmup_ratio": 0.0, "max_grad_norm": 1.0, "weight_decay": 0.0, "seed": 42, "lora_r": 16, "lora_alpha": 32,
    "lora_dropout": 0.05, "max_length": 1024, "gradient_checkpointing": True, "use_bnb_nested_quant": False, "load_in_4bit": False,
}  # fmt: skip
"""What TRL uses where a file says nothing, by our key."""
OWN_DEFAULTS: dict[str, dict[str, Any]] = {
    "kto": {"desirable_weight": 1.0, "undesirable_weight": 1.0},
    "reward": {"center_rewards_coefficient": 0.0},
    "grpo": {"num_generations": 8, "max_completion_length": 512, "beta": 0.0},
    "rloo": {"num_generations": 2, "max_completion_length": 512, "beta": 0.05},
}
RATES = {"sft": 2e-5, "reward": 1e-4}
RATE = 1e-6  # of every other command
LEFT_OUT = {
    "output_dir": "finetui keeps runs in its own folder",
    "bf16": "finetui tells it from dtype",
    "fp16": "finetui tells it from dtype",
    "eval_strategy": "finetui measures on held-out rows every eval_steps",
    "save_strategy": "finetui saves every save_steps",
    "dataset_num_proc": "finetui decides how many processes read",
    "dataset_text_field": "finetui finds the column of texts; name it with --mapping text=COLUMN",
    "trust_remote_code": "finetui never runs code that comes with a model",
    "push_to_hub": "export the result with finetui export",
    "hub_model_id": "export the result with finetui export",
    "completion_only_loss": "it is what assistant_only_loss does",
    "eos_token": "finetui takes the one of the chat template",
    "packing_strategy": "finetui packs by its own rule",
    "eval_packing": "finetui packs by its own rule",
    "lora_task_type": "finetui knows it from the objective",
}


def objective_of(tree: dict[str, Any]) -> str:
    """Which command the file is for; only its own keys tell."""
    if "reward_funcs" in tree or "num_generations" in tree:
        return (
            "grpo"
            if tree.keys() & {"scale_rewards", "loss_type"} or "normalize_advantages" not in tree
            else "rloo"
        )
    if tree.keys() & {"desirable_weight", "undesirable_weight"}:
        return "kto"
    if "center_rewards_coefficient" in tree or tree.get("lora_task_type") == "SEQ_CLS":
        return "reward"
    preferring = tree.keys() & {
        "beta",
        "label_smoothing",
        "precompute_ref_log_probs",
        "ld_alpha",
        "f_divergence_type",
    }
    return "dpo" if preferring else "sft"


def read(reading: Reading) -> None:
    """Take what a TRL file says."""
    tree = reading.tree
    objective = reading.asked or objective_of(tree)
    reading.take("objective", objective, "the keys of the file" if not reading.asked else "--objective")
    if not reading.asked:
        reading.notes.append(
            f"The file does not name trl's command; its keys are those of trl {objective} (--objective)."
        )
    adapter = bool(reading.pop("use_peft", False))
    reading.take("tuning", "lora" if adapter else "full", "use_peft")
    reading.pairs((*TABLE, *OWN.get(objective, ())), skip={"lora"} if not adapter else set())
    if objective == "sft":
        reading.take_if("assistant_only_loss", "assistant_only_loss")
        packing_back(reading, "packing", TITLE)
        if "assistant_only_loss" not in reading.taken:
            reading.notes.append(
                "TRL learns the questions too, unless rows have a prompt and a completion; finetui learns the answers only "
                "(assistant_only_loss)."
            )
    if adapter and "lora_target_modules" not in reading.taken:
        reading.notes.append(
            "The file names no lora_target_modules: PEFT then adapts a few layers, mostly q_proj and v_proj; finetui adapts all-linear."
        )
    reading.take_if("chat_template", "chat_template_path")
    report_back(reading)
    _datasets(reading)
    functions = reading.pop("reward_funcs", None)
    if functions:
        reading.leave(
            "reward_funcs", functions, "put your functions into a file and name it with reward_file"
        )
    reading.defaults(_defaults(objective), TITLE, adapter)
    reading.rest(LEFT_OUT, TITLE)


def _defaults(objective: str) -> dict[str, Any]:
    found = DEFAULTS | OWN_DEFAULTS.get(objective, {}) | {"learning_rate": RATES.get(objective, RATE)}
    if objective in ("grpo", "rloo"):
        found.pop("max_length")  # it holds prompt and answer in finetui, and TRL does not limit prompts
    return found


def _datasets(reading: Reading) -> None:
    name, config = reading.pop("dataset_name", None), reading.pop("dataset_config", None)
    train, test = reading.pop("dataset_train_split", "train"), reading.pop("dataset_test_split", "test")
    sources: list[dict[str, Any]] = []
    for item in reading.pop("datasets", None) or ():
        files = item.get("data_files") if isinstance(item, dict) else None
        if isinstance(files, list):
            sources += [{"path": file, "split": item.get("split")} for file in files]
        elif isinstance(item, dict):
            sources.append(
                {"path": files or item.get("path"), "config": item.get("name"), "split": item.get("split")}
            )
            reading.unknown_in("datasets", item, {"path", "name", "split", "data_files"}, TITLE)
    share = reading.pop("test_split_size", None)
    if sources:
        reading.sources("train", sources, "datasets")
    elif name:
        reading.sources("train", [{"path": name, "config": config, "split": train}], "dataset_name")
        if reading.pop("eval_strategy") not in (None, "no", False):
            reading.sources("eval", [{"path": name, "config": config, "split": test}], "dataset_test_split")
    if share is not None:
        reading.take("eval_fraction", share, "test_split_size")
