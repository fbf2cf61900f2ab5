"""Settings that exclude each other, each with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.advise.objectives import OBJECTIVES, OWN_SETTINGS, users_of
from engine.data.forms import Labelled, PromptOnly

if TYPE_CHECKING:
    from engine.config.schema import RunConfig

Conflict = tuple[str, str]
"""The key to change, and what is wrong; without braces, which pydantic would fill in."""


def first_conflict(config: RunConfig) -> Conflict | None:
    """The first combination that makes no sense; None where there is none."""
    return next(_conflicts(config), None)


def _conflicts(config: RunConfig) -> Iterator[Conflict]:
    model, training = config.model, config.training
    quantized = "load_in_4bit" if model.load_in_4bit else "load_in_8bit" if model.load_in_8bit else None
    if model.load_in_4bit and model.load_in_8bit:
        yield "load_in_8bit", "load_in_4bit and load_in_8bit exclude each other"
    if config.method.tuning != "lora" and quantized:
        yield (
            quantized,
            "quantized weights cannot be trained themselves: choose tuning lora, or no quantization",
        )
    if training.sharding == "fsdp" and quantized:
        yield (
            "sharding",
            "a quantized model cannot be split between cards here: choose ddp, or no quantization",
        )
    if training.max_steps == 0:
        yield "max_steps", "max_steps 0 trains nothing: use -1 for no limit"
    if config.lora.loraplus_lr_ratio is not None and config.method.tuning != "lora":
        yield "loraplus_lr_ratio", f"LoRA+ is for adapters, and tuning is {config.method.tuning}"
    if config.method.freeze_trainable_layers is not None and config.method.tuning != "freeze":
        yield (
            "freeze_trainable_layers",
            f"it is for tuning freeze, and tuning is {config.method.tuning}",
        )
    if config.data.eval is None and config.data.eval_fraction == 0:
        for key, asked in (
            ("early_stopping_patience", config.watch.early_stopping_patience),
            ("load_best_model_at_end", config.watch.load_best_model_at_end),
        ):
            if asked:
                yield key, f"{key} needs held-out rows to measure: give eval, or an eval_fraction above 0"
    yield from _of_experts(config)
    yield from _of_objective(config)


def _of_experts(config: RunConfig) -> Iterator[Conflict]:
    """peft tuners/lora/layer.py ParamWrapper: adapters on the experts of a layer, which are one tensor, take neither."""
    lora = config.lora
    if config.method.tuning != "lora" or not (lora.lora_dropout or lora.use_dora):
        return
    from engine.errors import UserError
    from engine.fit.expert_linears import expert_adapters
    from engine.fit.setup import architecture_of

    try:
        architecture = architecture_of(config.model.model_name_or_path)
    except UserError:
        return  # an unknown model is told elsewhere
    targets = lora.lora_target_modules
    if not expert_adapters(architecture, [targets] if isinstance(targets, str) else targets):
        return
    others = "or leave the experts out: lora_target_modules [q_proj, k_proj, v_proj, o_proj]"
    if lora.lora_dropout:
        yield (
            "lora_dropout",
            "this model is a mixture of experts, and adapters on its experts cannot have dropout: choose lora_dropout 0, "
            + others,
        )
    if lora.use_dora:
        yield (
            "use_dora",
            "this model is a mixture of experts, and adapters on its experts cannot be DoRA: choose use_dora false, "
            + others,
        )


def _of_objective(config: RunConfig) -> Iterator[Conflict]:
    objective, loss = config.method.objective, config.method.loss_type
    about = OBJECTIVES[objective]
    for key, changed in _own_values(config).items():
        if changed and key not in about.settings:
            yield key, f"{key} is for {' and '.join(users_of(key))}, and objective is {objective}"
    if loss is not None and loss not in about.losses:
        yield "loss_type", f"{objective} has the losses {', '.join(about.losses)}"
    preference, training = config.preference, config.training
    if preference.label_smoothing and loss not in ("robust", "exo_pair"):
        yield "label_smoothing", "label_smoothing needs loss_type robust or exo_pair"
    if loss == "exo_pair" and not preference.label_smoothing:
        yield "loss_type", "exo_pair needs label_smoothing above 0, such as 0.001"
    if about.form is Labelled and training.per_device_train_batch_size == 1 and loss != "apo_zero_unpaired":
        yield (
            "per_device_train_batch_size",
            "kto compares each answer with another one of its batch: choose 2 or more",
        )
    if about.form is PromptOnly:
        yield from _of_rewards(config)


def _of_rewards(config: RunConfig) -> Iterator[Conflict]:
    rewards, generation, training = config.rewards, config.generation, config.training
    names = rewards.reward_funcs
    if names is not None and len(set(names)) < len(names):
        yield "reward_funcs", "a reward function is named twice: use reward_weights to make it count more"
    if rewards.reward_weights is not None and (names is None or len(rewards.reward_weights) != len(names)):
        yield "reward_weights", "reward_weights needs one number for each of reward_funcs"
    if "regex" in (names or ()) and rewards.reward_pattern is None:
        yield "reward_funcs", "the reward regex needs reward_pattern"
    length, longest = training.max_length, generation.max_completion_length
    if length is not None and longest is not None and longest >= length:
        yield (
            "max_completion_length",
            "max_length holds prompt and answer together, so it must be larger than max_completion_length",
        )
    made, batch = generation.num_generations, training.per_device_train_batch_size
    accumulated = training.gradient_accumulation_steps
    if made and batch and accumulated:
        at_once = batch * accumulated * (training.num_processes or 1)
        if at_once % made:
            yield (
                "num_generations",
                f"a step makes {at_once} answers (per_device_train_batch_size times gradient_accumulation_steps), which is no "
                f"multiple of num_generations {made}",
            )


def _own_values(config: RunConfig) -> dict[str, bool]:
    """Settings that not every objective has, and whether the value differs from the default."""
    changed: dict[str, bool] = {}
    for part in (config.method, config.preference, config.rewards, config.generation, config.training):
        for key, field in type(part).model_fields.items():
            if key in OWN_SETTINGS:
                changed[key] = getattr(part, key) != field.default
    return changed
