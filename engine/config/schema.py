"""The settings of a run. Each setting's help, unit, range and default live here and nowhere else.

Sections are for people; keys carry the names Hugging Face and TRL use, and no key occurs in two sections, so that
``--learning_rate 1e-4`` on the command line is unambiguous. ``None`` means: finetui chooses, and says why.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from engine.config.conflicts import first_conflict
from engine.config.objective_sections import Generation, Preference, Rewards
from engine.config.section import Section, setting
from engine.data.sources import Spec, parse_mapping, spec_of

ORDINARY_LENGTH = 1024  # tokens: holds an ordinary conversation, where the dataset has not been measured


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
    """One dataset."""

    path: str = setting(
        ...,
        "A file or folder (JSONL, JSON, CSV, TSV, Parquet, Arrow, text, also compressed), or the id of a Hub dataset such as "
        "trl-lib/tldr. #1000 behind it takes 1000 rows at random.",
        min_length=1,
    )
    config: str | None = setting(None, "Which one, of a Hub dataset that comes in several configurations.")
    split: str | None = setting(None, "Part to read, such as train or test; train where there are several.")
    revision: str | None = setting(None, "Branch, tag or commit of a Hub dataset.")
    sample: int | None = setting(None, "Take so many rows, drawn at random; all without it.", "rows", ge=1)
    weight: float = setting(
        1.0,
        "How often each row is used: 2 uses each twice, 0.5 uses half of them.",
        usual="0.5 to 3",
        gt=0,
        le=100,
    )
    mapping: dict[str, str] | None = setting(
        None, "Columns assigned by hand, such as {prompt: Frage, completion: Antwort}."
    )
    format: str | None = setting(
        None, "How rows are read, where finetui should not decide it: alpaca, chosen, ... (docs/datasets.md)."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"path": value}
        if not isinstance(value, dict) or not isinstance(value.get("path"), str):
            return value
        written = spec_of(value["path"])
        parts = {"sample": written.sample, "config": written.config, "split": written.split}
        said = {key: part for key, part in parts.items() if part is not None and value.get(key) is None}
        return {**value, **said, "path": written.path}

    @field_validator("mapping", mode="before")
    @classmethod
    def _by_hand(cls, value: Any) -> Any:
        return parse_mapping(value) if isinstance(value, str) else value

    def spec(self, data: Data) -> Spec:
        """The source with what the section says for all of them."""
        return Spec(
            self.path,
            self.config,
            self.split,
            self.revision,
            self.sample,
            self.weight,
            dict(self.mapping or data.mapping),
            None if (format := self.format or data.format) == "auto" else format,
        )


class Data(Section):
    """What the model learns from."""

    train: list[Source] = setting(
        ...,
        "The datasets with training rows: files, folders or Hub ids; #1000 behind one takes 1000 of its rows. In run.yaml each "
        "may also have config, split, revision, sample, weight, mapping and format.",
        min_length=1,
    )
    eval: list[Source] | None = setting(
        None,
        "Datasets with rows held out for evaluation. Without them, a share of the training rows is held out.",
    )
    eval_fraction: float = setting(
        0.05,
        "Share of the rows that is kept out of training to measure progress honestly.",
        usual="0.02 to 0.1",
        ge=0,
        le=0.5,
    )
    mapping: dict[str, str] = setting(
        {},
        "Columns assigned by hand, for all datasets that have no mapping of their own: prompt=Frage,completion=Antwort.",
    )
    format: str = setting(
        "auto",
        "How rows are read, for all datasets that have no format of their own: a shape such as alpaca, or a conversion such as "
        "chosen (learn only the chosen answers of preference pairs). auto recognises it.",
    )

    @field_validator("train", "eval", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @field_validator("mapping", mode="before")
    @classmethod
    def _by_hand(cls, value: Any) -> Any:
        return parse_mapping(value) if isinstance(value, str) else value

    def train_specs(self) -> list[Spec]:
        """The training sources, complete."""
        return [source.spec(self) for source in self.train]

    def eval_specs(self) -> list[Spec]:
        """The evaluation sources, complete."""
        return [source.spec(self) for source in self.eval or ()]


class Template(Section):
    """How a conversation becomes text, and which part of it is learnt."""

    chat_template: str = setting(
        "model",
        "'model' for the model's own chat template, the name of a known one such as chatml or llama3, or the path of a "
        ".jinja file. A model without one of its own gets one that fits.",
        min_length=1,
    )
    assistant_only_loss: bool = setting(
        True, "Learn only what the assistant says. Switch off to learn the questions too."
    )
    allow_bad_template: bool = setting(
        False,
        "Start although the check of the template says that nothing useful would be learnt, or never how to stop.",
    )


class Method(Section):
    """How the model is taught."""

    objective: Literal["sft", "cpt", "dpo", "kto", "orpo", "reward", "grpo", "rloo"] = setting(
        "sft",
        "What is learnt. sft: imitate answers. cpt: go on reading raw text. dpo: prefer the better of two answers. kto: learn "
        "from answers marked good or bad. orpo: imitate and prefer at once. reward: score answers. grpo, rloo: make up answers "
        "and learn from their rewards.",
    )
    tuning: Literal["full", "freeze", "lora"] = setting(
        "lora",
        "lora trains small added matrices and leaves the model as it is; freeze trains its last layers only (transfer learning); "
        "full changes every weight and needs several times the memory.",
    )
    freeze_trainable_layers: int | None = setting(
        None,
        "With tuning freeze: how many of the last layers are trained. More learns more and needs more memory.",
        "layers",
        "2 to a quarter of the model",
        ge=1,
        le=1000,
    )
    loss_type: str | None = setting(
        None,
        "Which form of the objective's loss. dpo: sigmoid, ipo, hinge, robust, exo_pair, apo_zero, apo_down, sigmoid_norm. kto: "
        "kto, apo_zero_unpaired. grpo: dapo, grpo, dr_grpo, bnpo. sft, cpt: nll, dft. The first of each is the usual one.",
    )
    beta: float | None = setting(
        None,
        "How strongly the model is held to what it was before. Higher keeps it closer and learns less; too low and answers fall "
        "apart. In orpo: how much preferring counts beside imitating. In grpo 0 saves the comparison altogether.",
        usual="0.1 for dpo, kto, orpo; 0 to 0.05 for grpo, rloo",
        ge=0,
        le=100,
    )


class Lora(Section):
    """The added matrices. They only matter when tuning is lora."""

    lora_r: int = setting(
        16,
        "Rank: how much the adapter can learn. Double it when the model does not pick up enough, halve it when it learns by "
        "heart. Adapter, its gradients and optimizer grow with it.",
        usual="8 to 64",
        ge=1,
        le=1024,
    )
    lora_alpha: int = setting(
        32,
        "Strength of the adapter: it counts alpha divided by the rank. Change it along with the rank; costs nothing.",
        usual="the rank, or twice the rank",
        ge=1,
        le=4096,
    )
    lora_dropout: float = setting(
        0.0,
        "Randomly drop part of the adapter while training. Raise it when few rows are learnt by heart; costs a little time and "
        "memory.",
        usual="0 to 0.1",
        ge=0,
        lt=1,
    )
    lora_target_modules: str | list[str] = setting(
        "all-linear",
        "Which layers get an adapter: all-linear learns best; a list such as [q_proj, v_proj] saves memory and learns less.",
    )

    @field_validator("lora_target_modules")
    @classmethod
    def _names(cls, value: str | list[str]) -> str | list[str]:
        """A name, or several with commas, is a list; what holds other signs is a pattern."""
        if isinstance(value, list) or value == "all-linear" or not re.fullmatch(r"[\w\s,]+", value):
            return value
        return [part for part in (part.strip() for part in value.split(",")) if part]

    use_rslora: bool = setting(
        False, "rsLoRA: scale by the square root of the rank. Helps at ranks of 64 and more; costs nothing."
    )
    use_dora: bool = setting(
        False, "DoRA: learn size and direction apart; slightly better at small ranks, slower."
    )
    loraplus_lr_ratio: float | None = setting(
        None,
        "LoRA+: the second matrix of each adapter learns so many times faster than the first. Learns sooner on hard tasks; "
        "then halve the learning rate. Without it both learn at the same rate.",
        usual="2 to 16",
        ge=1,
        le=1000,
    )
    lora_modules_to_save: list[str] = setting(
        [],
        "Layers trained whole beside the adapter, such as [embed_tokens]. They cost the memory of full fine-tuning, each for "
        "itself. Tokens that a chat template adds are learnt without it.",
        max_length=20,
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


class RunConfig(Section):
    """A whole run."""

    model: Model
    data: Data
    template: Template = Field(default_factory=Template)
    method: Method = Field(default_factory=Method)
    lora: Lora = Field(default_factory=Lora)
    preference: Preference = Field(default_factory=Preference)
    rewards: Rewards = Field(default_factory=Rewards)
    generation: Generation = Field(default_factory=Generation)
    training: Training = Field(default_factory=Training)
    watch: Watch = Field(default_factory=Watch)
    healing: Healing = Field(default_factory=Healing)

    @model_validator(mode="after")
    def _possible(self) -> RunConfig:
        problem = first_conflict(self)
        if problem is not None:
            key, words = problem
            raise PydanticCustomError("combination", words, {"key": key})
        return self


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def keys() -> dict[str, str]:
    """Every setting's key with its section."""
    return {key: section for section, model in SECTIONS.items() for key in model.model_fields}
