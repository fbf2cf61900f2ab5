"""From run.yaml to what the predictors need to know."""

from __future__ import annotations

from pathlib import Path

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.data.forms import Preference, PromptOnly, Text
from engine.fit.architecture import from_catalogue, from_config, from_folder, from_size
from engine.fit.types import Architecture, TrainSetup
from engine.models import catalogue

_LAST_LAYERS = 2  # engine.train.tuning.LAYERS_BY_DEFAULT
_ORDINARY_ANSWER = 256  # engine.train.objectives.online.ORDINARY_ANSWER


def setup_of(config: RunConfig, longest_row: int | None = None) -> TrainSetup:
    """The run as the predictors see it.

    Args:
        config: Complete or not; open values count as the trainer's defaults.
        longest_row: Tokens of the longest training row; the padded length is that or max_length, whichever is less.
    """
    model, training = config.model, config.training
    form = OBJECTIVES[config.method.objective].form
    texts = 2 if form is Preference else 1  # a pair goes through the model as two texts
    batch = texts * (training.per_device_train_batch_size or 1)
    length = training.max_length or ORDINARY_LENGTH
    if form is PromptOnly and longest_row:
        longest_row += config.generation.max_completion_length or length
    # Texts are packed into blocks of the full length.
    length = min(length, longest_row) if longest_row and form is not Text else length
    processes = training.num_processes or 1
    evaluates = config.data.eval is not None or config.data.eval_fraction > 0
    targets = config.lora.lora_target_modules
    flash = model.attn_implementation == "flash_attention_2"
    # engine.train.batching.lay_out: only where each process has the whole model
    shared = config.method.objective in ("sft", "cpt") and training.packing is not False
    shared = shared and not (processes > 1 and training.sharding == "fsdp")
    dtype = model.dtype or "bfloat16"
    return TrainSetup(
        tuning=config.method.tuning,
        trained_layers=config.method.freeze_trainable_layers or _LAST_LAYERS,
        quantization=model.bnb_4bit_quant_type
        if model.load_in_4bit
        else "int8"
        if model.load_in_8bit
        else "none",
        double_quant=model.use_bnb_nested_quant,
        dtype=dtype,
        trained_dtype="bfloat16" if dtype == "bfloat16" else "float32",
        autocast=dtype != "float32",
        lora_r=config.lora.lora_r,
        lora_targets=(targets,) if isinstance(targets, str) else tuple(targets),
        lora_dropout=config.lora.lora_dropout,
        dora=config.lora.use_dora,
        objective="sft" if config.method.objective == "cpt" else config.method.objective,
        answer_length=config.generation.max_completion_length or _ORDINARY_ANSWER
        if form is PromptOnly
        else 0,
        batch=batch,
        texts=texts,
        reference=_compares(config),
        seq_len=length,
        eval_batch=texts * (training.per_device_eval_batch_size or batch // texts) if evaluates else 0,
        gradient_checkpointing=training.gradient_checkpointing is not False,
        optimizer=training.optim or "adamw_torch_fused",
        attention=model.attn_implementation or "sdpa",
        packed=shared and flash,
        lines=shared and not flash,
        gradient_accumulation=training.gradient_accumulation_steps or 1,
        num_gpus=processes,
        sharding=(training.sharding or "ddp") if processes > 1 else "none",
    )


def _compares(config: RunConfig) -> bool:
    """Whether the trainer holds a second model; an adapter is switched off instead (trl dpo_trainer.py, grpo_trainer.py)."""
    method = config.method
    if method.tuning == "lora":
        return False
    if method.objective in ("dpo", "kto"):
        return config.preference.precompute_ref_log_probs is False
    beta = OBJECTIVES[method.objective].beta if method.beta is None else method.beta
    return method.objective in ("grpo", "rloo") and bool(beta)


def architecture_of(model: str) -> Architecture:
    """The architecture of a folder or Hub id, from its config.json, the known models, or its name.

    Raises:
        UserError: The folder's config.json cannot be understood, or nothing is known of the model.
    """
    from engine.errors import UserError
    from engine.models.naming import read_name

    folder = Path(model).expanduser()
    if folder.is_dir():
        return from_folder(folder)
    # What was downloaded says more than a name that resembles a known one.
    known = from_catalogue(model) if catalogue.find(model) else None
    if known is None and (cached := cached_config(model)) is not None:
        return from_config(cached, model)
    known = known or from_catalogue(model)
    if known is not None:
        return known
    params_b = read_name(model).params_b
    if params_b is not None:
        return from_size(params_b, model)
    raise UserError(
        "Nothing is known about this model's size.",
        model,
        "Give the folder it is in, a Hub id with its size in the name, or download it first.",
    )


def cached_config(model: str) -> dict[str, object] | None:
    import json

    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    if not isinstance(found, str):
        return None
    try:
        value = json.loads(Path(found).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
