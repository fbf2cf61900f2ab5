"""What every objective shares: TRL's configuration and the trainer, with what is trained in the stated number format."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.config.reporting import require_reporting
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.train import batching, tuning
from engine.train.model import cast_trainable, is_split, trained_dtype
from engine.train.objectives import load_objective
from engine.train.objectives.base import Objective, Warn


def arguments(config: RunConfig, output_dir: str, has_eval: bool, resuming: bool) -> Any:
    """TRL's configuration for this run.

    Raises:
        UserError: TRL refuses the combination.
    """
    import torch

    # TRL still uses the old names at every step, and the log should hold what matters.
    warnings.filterwarnings("ignore", message=".*activation_checkpointing.*", category=FutureWarning)

    objective = load_objective(config.method.objective)
    require_reporting(config.watch.report_to, output_dir)
    training, watch, about = config.training, config.watch, objective.about
    cuda = torch.cuda.is_available()
    batch, accumulated = batching.rows_per_batch(config)
    shared = dict(
        output_dir=output_dir,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=training.per_device_eval_batch_size or 1,
        gradient_accumulation_steps=accumulated,
        learning_rate=training.learning_rate or about.full_rate,
        num_train_epochs=training.num_train_epochs or 1,
        max_steps=training.max_steps,
        lr_scheduler_type=training.lr_scheduler_type,
        lr_scheduler_kwargs={"min_lr_rate": 0.1}
        if training.lr_scheduler_type == "cosine_with_min_lr"
        else None,
        warmup_steps=training.warmup_ratio,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim=training.optim or "adamw_torch_fused",
        gradient_checkpointing=bool(training.gradient_checkpointing),
        neftune_noise_alpha=training.neftune_noise_alpha,
        use_liger_kernel=training.use_liger_kernel,
        torch_compile=training.torch_compile,
        seed=training.seed,
        bf16=cuda and config.model.dtype == "bfloat16",
        fp16=cuda and config.model.dtype == "float16",
        use_cpu=not cuda,
        **splitting(config),
        ddp_backend=None if cuda or (training.num_processes or 1) == 1 else "gloo",
        dataloader_pin_memory=cuda,
        logging_steps=watch.logging_steps,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_eval else "no",
        eval_steps=watch.eval_steps if has_eval else None,
        eval_on_start=has_eval and not resuming,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=watch.save_steps or 100,
        save_total_limit=watch.save_total_limit,
        metric_for_best_model=about.best_by if has_eval else None,
        greater_is_better=about.higher_is_better if has_eval else None,
        report_to=list(watch.report_to),
        run_name=Path(output_dir).absolute().parent.name,
        disable_tqdm=True,
        push_to_hub=False,
    )
    try:
        made = objective.config_class(**shared, **objective.own(config))
    except ValueError as error:
        raise UserError(
            f"These settings do not go together: {str(error).splitlines()[0]}",
            f"objective {about.id}",
            "Change one of the settings it names, or leave it out so that finetui chooses.",
        ) from error
    if is_split(config) and not cuda:
        _split_on_cpu()
    return made


def _split_on_cpu() -> None:
    """Let accelerate split a model between processes without a card: FSDP 2 can, but accelerate asks it only on accelerators.

    To be called after TRL's configuration was made, which finds the processes, and before the trainer is.
    """
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def splitting(config: RunConfig) -> dict[str, Any]:
    """What splits the model between processes (FSDP 2); nothing where each holds all of it."""
    if not is_split(config):
        return {}
    return {
        "fsdp": True,
        "fsdp_config": {"version": 2, "cpu_ram_efficient_loading": True},
    }


def build(
    config: RunConfig,
    model: Any,
    tokenizer: Any,
    train: Any,
    evaluation: Any,
    args: Any,
    callbacks: list[Any],
    new_rows: dict[str, list[int]] | None = None,
    warn: Warn = lambda words, fix: None,
) -> Any:
    """The trainer, with the adapter attached and every trained parameter in the stated number format.

    Args:
        config: The run.
        model: As loaded.
        tokenizer: With its chat template.
        train: A dataset as `Objective.prepare` made it.
        evaluation: The same, of the held-out rows; None without.
        args: From `arguments`.
        callbacks: Of transformers.
        new_rows: Embeddings that must learn new tokens: layer name to token ids.
        warn: Told what the user should know while it trains.

    Raises:
        UserError: No adapter can be attached as asked, or a reward function cannot be used.
    """
    from transformers import PrinterCallback

    objective = load_objective(config.method.objective)
    tuning.require_liger(config)
    tuning.require_modules(model, config)
    adapter = tuning.lora(config, new_rows, objective.task)
    if config.method.tuning == "freeze":
        tuning.freeze(model, config.method.freeze_trainable_layers or tuning.LAYERS_BY_DEFAULT, new_rows)
    given = objective.given(config, warn)
    trainer = _refusing(
        lambda: _trainer(objective, model, adapter, args, train, evaluation, tokenizer, callbacks, given),
        model,
        config,
    )
    if is_split(config) and not trainer.is_fsdp_enabled:
        raise RuntimeError(
            "run.yaml says that the model is split between processes, and accelerate does not split it"
        )
    trainer.loraplus_lr_ratio = config.lora.loraplus_lr_ratio
    _mend_head(trainer.model, config, new_rows)
    # Our callback writes the log line; transformers' own would print every metric twice.
    trainer.remove_callback(PrinterCallback)
    cast_trainable(trainer.model, trained_dtype(config))
    trainer.layout_words = batching.lay_out(trainer, config, tokenizer, warn)
    return trainer


def _trainer(
    objective: Objective,
    model: Any,
    adapter: Any,
    args: Any,
    train: Any,
    evaluation: Any,
    tokenizer: Any,
    callbacks: list[Any],
    given: dict[str, Any],
) -> Any:
    if objective.attaches and adapter is not None:
        from peft import get_peft_model
        from transformers import set_seed

        set_seed(args.seed)  # the adapter begins with random numbers
        model, adapter = get_peft_model(model, adapter), None
    return objective.trainer_class(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=callbacks,
        **given,
    )


def _refusing(make: Callable[[], Any], model: Any, config: RunConfig) -> Any:
    try:
        return make()
    except (ValueError, NotImplementedError) as error:
        refusal = tuning.cannot_attach(error, model, config)
        if refusal is None:
            raise
        raise refusal from error


def _mend_head(model: Any, config: RunConfig, new_rows: dict[str, list[int]] | None) -> None:
    """Where rows of the embeddings are trained beside an adapter."""
    head = model.get_output_embeddings()
    if new_rows and head is not None and not hasattr(head, "bias"):
        head.bias = None  # TRL asks for it, and PEFT's wrapper around rows that are trained has none
    if new_rows and config.method.tuning == "lora":
        # PEFT would write both embeddings whole into every checkpoint, though only the new rows are trained.
        model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
