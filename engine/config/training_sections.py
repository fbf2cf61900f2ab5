"""Settings of the training itself, of what is watched meanwhile, and of what may be changed so that a run goes on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from engine.config.section import Section, setting


class Training(Section):
    """The training itself."""

    max_length: int | None = setting(
        None,
        "Longest conversation that is learnt; what is beyond is cut off. Memory grows with it.",
        "tokens",
        "512 to 4096",
        ge=8,
        le=1_048_576,
    )
    per_device_train_batch_size: int | None = setting(
        None,
        "Conversations a GPU handles at once. More is faster and takes more memory; lower it when memory runs out.",
        usual="1 to 16",
        ge=1,
        le=4096,
    )
    gradient_accumulation_steps: int | None = setting(
        None,
        "Batches added up before the model changes: a larger batch without more memory. Raise it when the loss jumps about; each "
        "step takes longer, and there are fewer of them.",
        usual="1 to 16",
        ge=1,
        le=4096,
    )
    per_device_eval_batch_size: int | None = setting(
        None,
        "Conversations handled at once during evaluation. Lower it if memory runs out there; nothing that is learnt depends on it.",
        usual="as in training",
        ge=1,
        le=4096,
    )
    learning_rate: float | None = setting(
        None,
        "How large each change is. Too high: the loss jumps or explodes. Too low: nothing is learnt.",
        usual="2e-4 for LoRA, 2e-5 for full; dpo, kto, grpo, rloo a tenth to a twentieth",
        gt=0,
        le=1,
    )
    num_train_epochs: float | None = setting(
        None,
        "How often the whole dataset is read. More when the loss on held-out rows still falls at the end; less when it rises. Time "
        "grows with it.",
        usual="1 to 3",
        gt=0,
        le=1000,
    )
    max_steps: int = setting(
        -1, "Stop after this many steps, whatever num_train_epochs says. -1: no such limit.", "steps", ge=-1
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr"
    ] = setting(
        "linear",
        "How the learning rate falls towards the end. linear and cosine suit nearly every run; constant is for trying out, where you "
        "do not know when to stop. Costs nothing.",
    )
    warmup_ratio: float = setting(
        0.05,
        "Share of the steps in which the learning rate rises from zero. Raise it when the loss jumps at the beginning.",
        usual="0.03 to 0.1",
        ge=0,
        lt=1,
    )
    weight_decay: float = setting(
        0.0,
        "Pulls weights towards zero. Against learning by heart, mostly in full fine-tuning; costs nothing.",
        usual="0 to 0.1",
        ge=0,
        le=1,
    )
    max_grad_norm: float = setting(
        1.0,
        "Longest step the gradient may ask for; cuts off spikes. Lower it when single rows make the loss jump; 0 cuts nothing.",
        usual="0.3 to 1",
        ge=0,
    )
    optim: (
        Literal["adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "adafactor"] | None
    ) = setting(
        None,
        "The rule by which weights change. adamw_8bit needs a quarter of the optimizer memory, which matters in full fine-tuning; the "
        "paged one moves to main memory when the card is full, which is slow; adafactor needs least and learns a little less well.",
    )
    gradient_checkpointing: bool | None = setting(
        None,
        "Recompute instead of remember: much less memory for about 20 to 30 % more time. Switch on when memory runs out.",
    )
    neftune_noise_alpha: float | None = setting(
        None,
        "NEFTune: add noise of this size to the inputs while training, so that answers are learnt less by heart. Costs nothing; "
        "helps style and chat, may hurt facts.",
        usual="5 to 15",
        gt=0,
        le=100,
    )
    use_liger_kernel: bool = setting(
        False,
        "Liger's fused GPU kernels: less memory and somewhat faster. They need a CUDA card and the package liger-kernel.",
    )
    packing: bool | None = setting(
        None,
        "Lay short conversations side by side on one line instead of padding them, as far as memory allows. What is learnt stays the "
        "same; it is faster. Used only where a trial on the model shows that they do not see each other.",
    )
    group_by_length: bool | None = setting(
        None,
        "Take conversations of like length in the same step, so that little padding is needed. Steps then differ more from each "
        "other. Without packing only.",
    )
    torch_compile: bool = setting(
        False,
        "Let PyTorch compile the model before the first steps. Costs a minute or more; pays off in runs of hours on a GPU.",
    )
    seed: int = setting(
        42,
        "The same seed gives the same run. Change it to see how much of a difference is mere luck.",
        ge=0,
        le=2**32 - 1,
    )
    num_processes: int | None = setting(None, "How many GPUs train together.", ge=1, le=64)
    sharding: Literal["ddp", "fsdp"] | None = setting(
        None,
        "How several GPUs work together. ddp: each holds the whole model, fastest. fsdp: the model is split between "
        "them, for what does not fit on one; not with 4 or 8 bits.",
    )


class Watch(Section):
    """What is measured, shown and kept while it trains."""

    logging_steps: int = setting(
        1,
        "Report the loss every so many steps. Each report makes the card wait for a moment; raise it when steps are very short.",
        "steps",
        "1 to 10",
        ge=1,
    )
    eval_steps: int | None = setting(
        None,
        "Measure the loss on the held-out rows every so many steps. More often shows sooner when it stops getting better; each time "
        "reads all held-out rows.",
        "steps",
        "a tenth of a run's",
        ge=1,
    )
    save_steps: int | None = setting(
        None,
        "Write a checkpoint every so many steps; a run continues from the last one. More often loses less in a crash and writes more.",
        "steps",
        "a tenth of a run's",
        ge=1,
    )
    save_total_limit: int = setting(
        2,
        "How many checkpoints are kept, the newest and the best among them. Each takes disk space.",
        usual="1 to 3",
        ge=1,
        le=1000,
    )
    sample_prompts: list[str] = setting(
        [],
        "Questions the model answers before, while and after it is trained, so that you see the difference.",
        max_length=20,
    )
    sample_steps: int | None = setting(
        None, "Answer them every so many steps too; 0 only before and after.", "steps", ge=0
    )
    sample_max_new_tokens: int = setting(96, "Longest such answer.", "tokens", ge=1, le=4096)
    early_stopping_patience: int = setting(
        0,
        "Stop when so many evaluations in a row were no better than the best one. Saves time where rows are soon learnt by heart. 0 "
        "switches it off.",
        usual="2 to 5 evaluations",
        ge=0,
    )
    load_best_model_at_end: bool = setting(
        False,
        "Make the best checkpoint the result, not the last step. Every evaluation that is the best so far is saved then.",
    )
    report_to: list[Literal["tensorboard", "trackio", "wandb"]] = setting(
        [],
        "Send the curves to these programs too, where they are installed; nothing by default. wandb sends them to its servers, "
        "unless WANDB_MODE is offline.",
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [] if value == "none" else [part.strip() for part in value.split(",")]


class Healing(Section):
    """What finetui may change by itself so that a run goes on; every change is said in words and kept in changes.json."""

    heal: bool = setting(
        True,
        "Out of memory: go on from the last checkpoint with a smaller batch at once and as many more of them added up, so that "
        "what is learnt stays the same; then with gradient checkpointing.",
    )
    allow_shorter: bool = setting(
        False,
        "Out of memory although the batch is 1 and checkpointing is on: also halve max_length, which cuts off long rows.",
    )
    on_nan: Literal["stop", "restore"] = setting(
        "stop",
        "When the loss is no number any more, is zero, or explodes. stop: end at the last good checkpoint. restore: go back to "
        "it and on with a quarter of the learning rate, or with bfloat16 or float32 in place of float16.",
    )
    probe: bool = setting(
        True,
        "On a GPU: take the longest rows through two steps before training, show the measured memory beside the predicted, and "
        "raise a batch that finetui chose where there is room. Takes some seconds and changes nothing that is learnt.",
    )
