"""The settings of a run. Each setting's help, unit, range and default live here and nowhere else.

Sections are for people; keys carry the names Hugging Face and TRL use, and no key occurs in two sections, so that
``--learning_rate 1e-4`` on the command line is unambiguous. ``None`` means: finetui chooses, and says why.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

ORDINARY_LENGTH = 1024  # tokens: holds an ordinary conversation, where the dataset has not been measured


def setting(default: Any, help: str, unit: str = "", usual: str = "", **limits: Any) -> Any:
    """A pydantic field with the words the wizard, ``--help`` and run.yaml show."""
    return Field(default, description=help, json_schema_extra={"unit": unit, "usual": usual}, **limits)


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", validate_default=False, protected_namespaces=(), hide_input_in_errors=True
    )


class Model(Section):
    """Which model is trained, and in which precision it is loaded."""

    model_name_or_path: str = setting(
        ...,
        "The model to start from: a folder on this machine or an id of the Hugging Face Hub, such as Qwen/Qwen3-8B.",
        min_length=1,
    )
    model_revision: str = setting("main", "Branch, tag or commit of a Hub model.")
    dtype: Literal["bfloat16", "float16", "float32"] | None = setting(
        None,
        "Number format of the weights. bfloat16 halves the memory of float32 and is safe from Ampere cards (2020) on; "
        "float16 is for older cards; float32 for CPUs.",
    )
    load_in_4bit: bool | None = setting(
        None,
        "QLoRA: hold the frozen model in 4 bits. About a quarter of the memory, a little slower, nearly the same quality.",
    )
    load_in_8bit: bool = setting(
        False, "Hold the frozen model in 8 bits: half the memory, slower than 4 bits."
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting(
        "nf4", "The 4-bit number format; nf4 suits model weights better."
    )
    use_bnb_nested_quant: bool = setting(
        True, "Double quantization: also compress the 4-bit scales; saves about 0.4 bit a weight."
    )
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = setting(
        None,
        "How attention is computed. sdpa is fast everywhere; flash_attention_2 needs an extra package.",
    )


class Source(Section):
    """One dataset file."""

    path: str = setting(..., "A JSONL, JSON, CSV, TSV, Parquet or text file.", min_length=1)


class Data(Section):
    """What the model learns from."""

    train: list[Source] = setting(..., "The files with training rows.", min_length=1)
    eval: list[Source] | None = setting(
        None,
        "Files with rows held out for evaluation. Without them, a share of the training rows is held out.",
    )
    eval_fraction: float = setting(
        0.05,
        "Share of the rows that is kept out of training to measure progress honestly.",
        usual="0.02 to 0.1",
        ge=0,
        le=0.5,
    )

    @field_validator("train", "eval", mode="before")
    @classmethod
    def _plain_path(cls, value: Any) -> Any:
        items = [value] if isinstance(value, str | dict) else value
        return (
            [{"path": item} if isinstance(item, str) else item for item in items]
            if isinstance(items, list)
            else items
        )


class Template(Section):
    """How a conversation becomes text, and which part of it is learnt."""

    chat_template: str = setting(
        "model", "'model' for the model's own chat template, or the path of a .jinja file."
    )
    assistant_only_loss: bool = setting(
        True, "Learn only what the assistant says. Switch off to learn the questions too."
    )


class Method(Section):
    """How the model is taught."""

    objective: Literal["sft"] = setting(
        "sft", "What is learnt: sft = imitate the answers in the dataset (supervised fine-tuning)."
    )
    tuning: Literal["full", "lora"] = setting(
        "lora",
        "lora trains small added matrices and leaves the model as it is; full changes every weight and needs several times the memory.",
    )


class Lora(Section):
    """The added matrices. They only matter when tuning is lora."""

    lora_r: int = setting(
        16,
        "Rank: how much the adapter can learn. Double it when the model does not pick up enough.",
        usual="8 to 64",
        ge=1,
        le=1024,
    )
    lora_alpha: int = setting(
        32,
        "Strength of the adapter relative to the rank.",
        usual="the rank, or twice the rank",
        ge=1,
        le=4096,
    )
    lora_dropout: float = setting(
        0.0,
        "Randomly drop part of the adapter while training, against overfitting.",
        usual="0 to 0.1",
        ge=0,
        lt=1,
    )
    lora_target_modules: str | list[str] = setting(
        "all-linear", "Which layers get an adapter: all-linear, or a list such as [q_proj, v_proj]."
    )
    use_rslora: bool = setting(False, "Scale by the square root of the rank; helps at ranks of 64 and more.")
    use_dora: bool = setting(
        False, "DoRA: learn size and direction apart; slightly better at small ranks, slower."
    )


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
        "Conversations a GPU handles at once. More is faster until the memory is full.",
        usual="1 to 16",
        ge=1,
        le=4096,
    )
    gradient_accumulation_steps: int | None = setting(
        None,
        "Batches added up before the model changes: a larger batch without more memory.",
        usual="1 to 16",
        ge=1,
        le=4096,
    )
    per_device_eval_batch_size: int | None = setting(
        None, "Conversations handled at once during evaluation.", ge=1, le=4096
    )
    learning_rate: float | None = setting(
        None,
        "How large each change is. Too high: the loss jumps or explodes. Too low: nothing is learnt.",
        usual="2e-4 for LoRA, 2e-5 for full",
        gt=0,
        le=1,
    )
    num_train_epochs: float | None = setting(
        None, "How often the whole dataset is read.", usual="1 to 3", gt=0, le=1000
    )
    max_steps: int = setting(
        -1, "Stop after this many steps, whatever num_train_epochs says. -1: no such limit.", "steps", ge=-1
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr"
    ] = setting("linear", "How the learning rate falls towards the end.")
    warmup_ratio: float = setting(
        0.05,
        "Share of the steps in which the learning rate rises from zero.",
        usual="0.03 to 0.1",
        ge=0,
        lt=1,
    )
    weight_decay: float = setting(
        0.0, "Pulls weights towards zero, against overfitting.", usual="0 to 0.1", ge=0, le=1
    )
    max_grad_norm: float = setting(
        1.0, "Longest step the gradient may ask for; cuts off spikes.", usual="0.3 to 1", ge=0
    )
    optim: (
        Literal["adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "adafactor"] | None
    ) = setting(
        None,
        "The optimizer. adamw_8bit needs a quarter of the optimizer memory; it matters for full fine-tuning.",
    )
    gradient_checkpointing: bool | None = setting(
        None, "Recompute instead of remember: much less memory for about 20 to 30 % more time."
    )
    seed: int = setting(42, "The same seed gives the same run.", ge=0, le=2**32 - 1)
    num_processes: int | None = setting(None, "How many GPUs train together.", ge=1, le=64)
    sharding: Literal["ddp", "fsdp"] | None = setting(
        None,
        "How several GPUs work together. ddp: each holds the whole model, fastest. fsdp: the model is split between "
        "them, for what does not fit on one; not with 4 or 8 bits.",
    )


class Watch(Section):
    """What is measured, shown and kept while it trains."""

    logging_steps: int = setting(1, "Report the loss every so many steps.", "steps", ge=1)
    eval_steps: int | None = setting(
        None, "Measure the loss on the held-out rows every so many steps.", "steps", ge=1
    )
    save_steps: int | None = setting(
        None, "Write a checkpoint every so many steps; a run continues from the last one.", "steps", ge=1
    )
    save_total_limit: int = setting(2, "How many checkpoints are kept.", usual="1 to 3", ge=1, le=1000)
    sample_prompts: list[str] = setting(
        [],
        "Questions the model answers before and after training, so that you see the difference.",
        max_length=20,
    )
    sample_max_new_tokens: int = setting(96, "Longest such answer.", "tokens", ge=1, le=4096)


class RunConfig(Section):
    """A whole run."""

    model: Model
    data: Data
    template: Template = Field(default_factory=Template)
    method: Method = Field(default_factory=Method)
    lora: Lora = Field(default_factory=Lora)
    training: Training = Field(default_factory=Training)
    watch: Watch = Field(default_factory=Watch)

    @model_validator(mode="after")
    def _possible(self) -> RunConfig:
        if self.model.load_in_4bit and self.model.load_in_8bit:
            raise PydanticCustomError(
                "combination", "load_in_4bit and load_in_8bit exclude each other", {"key": "load_in_8bit"}
            )
        if self.method.tuning == "full" and (self.model.load_in_4bit or self.model.load_in_8bit):
            key = "load_in_4bit" if self.model.load_in_4bit else "load_in_8bit"
            raise PydanticCustomError(
                "combination",
                "quantized weights cannot be trained fully: choose tuning lora, or no quantization",
                {"key": key},
            )
        if self.training.sharding == "fsdp" and (self.model.load_in_4bit or self.model.load_in_8bit):
            raise PydanticCustomError(
                "combination",
                "a quantized model cannot be split between cards here: choose ddp, or no quantization",
                {"key": "sharding"},
            )
        if self.training.max_steps == 0:
            raise PydanticCustomError(
                "combination", "max_steps 0 trains nothing: use -1 for no limit", {"key": "max_steps"}
            )
        return self


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def keys() -> dict[str, str]:
    """Every setting's key with its section."""
    return {key: section for section, model in SECTIONS.items() for key in model.model_fields}
