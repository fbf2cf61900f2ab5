"""Supervised fine-tuning: imitate the answers in the dataset."""

from __future__ import annotations

from typing import Any

from engine.config.schema import RunConfig
from engine.train.model import is_split, trained_dtype


def arguments(config: RunConfig, output_dir: str, has_eval: bool, resuming: bool) -> Any:
    """TRL's SFTConfig for this run."""
    import torch
    from trl import SFTConfig

    training, watch = config.training, config.watch
    cuda = torch.cuda.is_available()
    return SFTConfig(
        output_dir=output_dir,
        max_length=training.max_length,
        per_device_train_batch_size=training.per_device_train_batch_size or 1,
        per_device_eval_batch_size=training.per_device_eval_batch_size or 1,
        gradient_accumulation_steps=training.gradient_accumulation_steps or 1,
        learning_rate=training.learning_rate or 2e-5,
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
        metric_for_best_model="eval_loss" if has_eval else None,
        greater_is_better=False if has_eval else None,
        report_to=[],
        disable_tqdm=True,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        push_to_hub=False,
    )


def splitting(config: RunConfig) -> dict[str, Any]:
    """What splits the model between processes (FSDP 2); nothing where each holds all of it."""
    if not is_split(config):
        return {}
    return {
        "fsdp": "full_shard auto_wrap",
        "fsdp_config": {"version": 2, "cpu_ram_efficient_loading": True},
    }


def lora(config: RunConfig) -> Any:
    """PEFT's LoraConfig, or None when every weight is trained."""
    if config.method.tuning != "lora":
        return None
    from peft import LoraConfig

    settings = config.lora
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=settings.lora_target_modules,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        bias="none",
    )


def build(
    config: RunConfig,
    model: Any,
    tokenizer: Any,
    train: Any,
    evaluation: Any,
    args: Any,
    callbacks: list[Any],
) -> Any:
    """The trainer, with the adapter attached and every trained parameter in the stated number format."""
    from transformers import PrinterCallback

    from engine.train.model import cast_trainable
    from engine.train.safe_save import SafeSFTTrainer

    trainer = SafeSFTTrainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        peft_config=lora(config),
        callbacks=callbacks,
    )
    # Our callback writes the log line; transformers' own would print every metric twice.
    trainer.remove_callback(PrinterCallback)
    cast_trainable(trainer.model, trained_dtype(config))
    return trainer
