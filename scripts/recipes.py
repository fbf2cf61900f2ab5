"""``python -m scripts.recipes``: writes presets/recipes/*.yaml, every key commented with the help of its field."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import SECTIONS
from engine.config.writing import scalar
from engine.data.forms import Objective

FOLDER = Path(__file__).resolve().parent.parent / "presets" / "recipes"
DATA = {
    "sft": "../demo/train.jsonl",
    "cpt": "data/texts.jsonl",
    "dpo": "data/preferences.jsonl",
    "orpo": "data/preferences.jsonl",
    "reward": "data/preferences.jsonl",
    "kto": "data/thumbs.jsonl",
    "grpo": "data/sums.jsonl",
    "rloo": "data/sums.jsonl",
}
RECIPES = (
    "sft-lora", "sft-qlora", "sft-full", "sft-freeze", "cpt-lora", "cpt-full", "dpo-lora", "dpo-qlora", "kto-lora", "orpo-lora",
    "reward-lora", "grpo-lora", "grpo-qlora", "rloo-lora",
)  # fmt: skip
TITLES = {
    "lora": "LoRA: small added matrices are trained, the model stays as it is",
    "qlora": "QLoRA: LoRA on a model held in 4 bits",
    "full": "full fine-tuning: every weight is trained",
    "freeze": "freezing: the last layers are trained, the others stay as they are",
}
RATES = {"lora": 1e-3, "qlora": 1e-3, "full": 3e-4, "freeze": 5e-4}
TINY = "for the tiny embedded model; for yours leave the line out, and finetui chooses"
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "dpo": {
        "method": {"loss_type": "sigmoid", "beta": 0.1},
        "preference": {"precompute_ref_log_probs": False},
    },
    "kto": {
        "method": {"loss_type": "kto", "beta": 0.1},
        "preference": {"desirable_weight": 1.0, "undesirable_weight": 1.0},
    },
    "orpo": {"method": {"beta": 0.1}},
    "reward": {"preference": {"center_rewards_coefficient": 0.01}},
    "grpo": {
        "method": {"loss_type": "dapo", "beta": 0.0},
        "rewards": {"reward_funcs": ["numeric", "length"], "reward_weights": [1.0, 0.2], "reward_length": 30},
        "generation": {
            "num_generations": 8,
            "max_completion_length": 24,
            "temperature": 1.0,
            "scale_rewards": "group",
        },
    },
    "rloo": {
        "method": {"beta": 0.05},
        "rewards": {"reward_funcs": ["numeric"]},
        "generation": {"num_generations": 4, "max_completion_length": 24, "temperature": 1.0},
    },
}


def recipe(name: str) -> dict[str, dict[str, Any]]:
    """The settings of a recipe by section."""
    objective, tuning = name.split("-")
    online = objective in ("grpo", "rloo")
    model: dict[str, Any] = {"model_name_or_path": "../demo"}
    if tuning == "qlora":
        model |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
    method: dict[str, Any] = {
        "objective": objective,
        "tuning": "lora" if tuning == "qlora" else tuning,
    }
    if tuning == "freeze":
        method["freeze_trainable_layers"] = 2
    own = OWN.get(objective, {})
    tree: dict[str, dict[str, Any]] = {
        "model": model,
        "data": {"train": [{"path": DATA[objective]}], "eval_fraction": 0.1},
        "template": {"assistant_only_loss": True} if objective == "sft" else {},
        "method": method | own.get("method", {}),
        "lora": {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}
        if method["tuning"] == "lora"
        else {},
        "preference": own.get("preference", {}),
        "rewards": own.get("rewards", {}),
        "generation": own.get("generation", {}),
        "training": {
            "max_length": 128,
            "per_device_train_batch_size": 32 if online else 8,
            "gradient_accumulation_steps": 1,
            "learning_rate": RATES[tuning],
            "num_train_epochs": 1.0 if online else 3.0,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": 0.05,
        },
        "watch": {} if objective == "reward" else {"sample_prompts": _prompts(objective)},
    }
    return {section: values for section, values in tree.items() if values}


def render(name: str) -> str:
    """A recipe as commented YAML."""
    objective, tuning = name.split("-")
    about = OBJECTIVES[_objective(objective)]
    lines = [
        *_comment(f"{about.title}. {about.words} With {TITLES[tuning]}.", ""),
        "#",
        *_comment(
            f"It runs as it is, on the embedded model: finetui train -c {name}.yaml   For your own, change model_name_or_path and "
            "the path of the data. Whatever is left out, finetui chooses and says why. Paths are relative to this file.",
            "",
        ),
    ]
    for section, values in recipe(name).items():
        model = SECTIONS[section]
        lines += ["", f"{section}: # {(model.__doc__ or '').strip().splitlines()[0]}"]
        for key, value in values.items():
            lines += _comment(help_of(section, key), "  ")
            note = f" # {TINY}" if key in ("learning_rate", "max_length", "max_completion_length") else ""
            lines.append(f"  {key}: {_written(value)}{note}")
    return "\n".join(lines) + "\n"


def help_of(section: str, key: str) -> str:
    """What the field says of itself."""
    field = SECTIONS[section].model_fields[key]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    unit = f" {extra['unit']}" if extra.get("unit") else ""
    usual = f" Usual: {extra['usual']}{unit}." if extra.get("usual") else ""
    return f"{field.description}{usual}"


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, 110, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
    )


def _written(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"[{{path: {scalar(value[0]['path'])}}}]"
    return f"{value:.1e}" if isinstance(value, float) and 0 < value < 0.01 else scalar(value)


def _prompts(objective: str) -> list[str]:
    if objective == "cpt":
        return ["From the notice board of the valley."]
    return ["Please add 2 to 3."] if objective in ("grpo", "rloo") else ["What sound does a mouse make?"]


def _objective(name: str) -> Objective:
    return next(known for known in OBJECTIVES if known == name)


if __name__ == "__main__":
    for recipe_name in RECIPES:
        (FOLDER / f"{recipe_name}.yaml").write_text(render(recipe_name), encoding="utf-8")
    print(f"Wrote {len(RECIPES)} recipes to {FOLDER}")
