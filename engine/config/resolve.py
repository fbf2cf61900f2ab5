"""Filling in what the user left open, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from engine.advise.choose_objective import Seen
from engine.advise.objectives import OBJECTIVES, choose_rate
from engine.choice import Choice
from engine.config import resolve_objective as own
from engine.config import resolve_step as step
from engine.config.filling import Filling
from engine.config.resolve_layout import fill_layout
from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.data.forms import PromptOnly, Text
from engine.fit.recommend import (
    Place,
    choose_attention,
    choose_batch,
    choose_checkpointing,
    choose_max_length,
    choose_num_processes,
    choose_optimizer,
    choose_sharding,
    choose_tuning,
)
from engine.fit.types import TrainSetup

Reasons = dict[str, str]
ROOM_FOR_PROMPTS = 512  # tokens


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choices depend on.

    Attributes:
        num_rows: Usable training rows, before any are held out; None when not counted.
        params_b: Parameters of the model in billions; None when unknown.
        gpu_name: The card that trains; None for a machine without one.
        compute_capability: Of that card, such as (8, 9).
        place: Model and free memory, for what the prediction decides; None without a card or where the model is unknown.
        layers: Layers of the model; None when unknown.
        tokens_per_row: Of an ordinary row; None when not known.
        seen: What the beginning of the data says about rewards and labels; None where that does not matter.
    """

    num_rows: int | None = None
    params_b: float | None = None
    gpu_name: str | None = None
    compute_capability: tuple[int, int] | None = None
    place: Place | None = None
    layers: int | None = None
    tokens_per_row: float | None = None
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A configuration with nothing left open, and why the filled-in values are what they are."""

    config: RunConfig
    choices: dict[str, Choice[Any]]

    @property
    def reasons(self) -> Reasons:
        return {key: choice.reason for key, choice in self.choices.items()}


def resolve(config: RunConfig, facts: Facts) -> Resolved:
    """Choose every value that is None."""
    place = facts.place
    held_out = config.data.eval_fraction if config.data.eval is None else 0
    rows = max(1, round((facts.num_rows or 1000) * (1 - held_out)))
    filling = Filling(config, rows, place.padded_to if place else None)
    fill, setup = filling.fill, filling.setup
    about = OBJECTIVES[config.method.objective]
    makes_answers = about.form is PromptOnly

    fill("dtype", lambda: choose_dtype(facts))
    own.fill_objective(filling, facts.layers, facts.seen)
    fill(
        "num_processes",
        lambda: (
            choose_num_processes(setup(), place, facts.num_rows)
            if place
            else Choice(1, "One process trains.")
        ),
    )
    processes = filling.config.training.num_processes or 1
    if makes_answers:
        fill("num_generations", lambda: step.generations(filling.config))
    fill("attn_implementation", lambda: choose_attention(place.architecture if place else None))
    _fill_quantization(filling, facts)
    fill(
        "sharding",
        lambda: choose_sharding(setup(), place) if place else Choice("ddp", "Each process holds the model."),
    )
    fill("optim", lambda: _optimizer(filling, facts))
    fill_layout(filling, place.architecture if place else None)
    fill("max_length", lambda: _max_length(filling, facts))
    if makes_answers:
        fill("max_completion_length", lambda: step.answer_length(filling.config))
    if about.form is Text and facts.tokens_per_row:  # texts are packed into blocks
        length = filling.config.training.max_length or ORDINARY_LENGTH
        rows = filling.rows = max(1, round(rows * facts.tokens_per_row / length))
    at_once = processes * (filling.config.training.gradient_accumulation_steps or 1)
    wanted = max(1, step.rows_a_step(rows) // at_once)

    def with_rows(batch: int) -> TrainSetup:
        return setup(per_device_train_batch_size=batch)

    fill(
        "gradient_checkpointing",
        lambda: (
            choose_checkpointing(
                with_rows, place, filling.config.training.per_device_train_batch_size or wanted
            )
            if place
            else _checkpointing_unmeasured(facts)
        ),
    )
    fill(
        "per_device_train_batch_size",
        lambda: step.batch(
            filling.config,
            lambda limit: choose_batch(with_rows, place, limit) if place else choose_batch_unmeasured(facts),
            wanted,
            rows,
        ),
    )
    batch = filling.config.training.per_device_train_batch_size or 1
    fill("per_device_eval_batch_size", lambda: step.eval_batch(filling.config, batch))
    fill("gradient_accumulation_steps", lambda: step.accumulation(filling.config, batch * processes, rows))
    accumulation = filling.config.training.gradient_accumulation_steps or 1
    fill("learning_rate", lambda: choose_learning_rate(config, facts))
    fill("num_train_epochs", lambda: own.epochs(filling.config, rows) or choose_epochs(rows))
    steps = filling.config.training.max_steps
    if steps < 0:
        epochs = filling.config.training.num_train_epochs or 1
        answers = rows * (filling.config.generation.num_generations or 1)
        steps = math.ceil(math.ceil(answers / (batch * processes)) / accumulation * epochs)
    interval = max(1, round(steps / 10))
    fill("eval_steps", lambda: Choice(interval, f"Ten measurements over about {steps} steps."))
    fill("save_steps", lambda: Choice(interval, f"A crash costs at most {interval} of about {steps} steps."))
    if filling.config.watch.sample_prompts:
        often = max(1, round(steps / 4))
        fill("sample_steps", lambda: Choice(often, f"Three times on the way of about {steps} steps.", (0,)))
    return Resolved(filling.config, filling.choices)


def _fill_quantization(filling: Filling, facts: Facts) -> None:
    model = filling.config.model
    if model.load_in_4bit is not None:
        return
    if filling.config.method.tuning != "lora" or model.load_in_8bit or facts.place is None:
        reason = (
            "Training the weights themselves needs them as they are."
            if filling.config.method.tuning != "lora"
            else "The model is held in 8 bits."
            if model.load_in_8bit
            else "Memory is no reason to: no GPU is used."
            if facts.gpu_name is None
            else "Not chosen, because the size of this model is not known."
        )
        filling.fill("load_in_4bit", lambda: Choice(False, reason))
        return
    tuning = choose_tuning(filling.setup(), facts.place)
    filling.choices["tuning"] = tuning
    filling.fill(
        "load_in_4bit", lambda: Choice(tuning.value == "qlora", tuning.reason, (tuning.value != "qlora",))
    )


def _max_length(filling: Filling, facts: Facts) -> Choice[int]:
    choice = _length(filling, facts)
    made = filling.config.generation.max_completion_length
    if made is not None and choice.value < made + ROOM_FOR_PROMPTS:
        return Choice(
            made + ROOM_FOR_PROMPTS, f"Answers of {made:,} tokens and {ROOM_FOR_PROMPTS:,} for the prompt."
        )
    return choice


def _length(filling: Filling, facts: Facts) -> Choice[int]:
    if facts.place is None:
        return Choice(
            ORDINARY_LENGTH,
            f"{ORDINARY_LENGTH:,} tokens hold an ordinary conversation.",
            (ORDINARY_LENGTH // 2, ORDINARY_LENGTH * 2),
        )
    return choose_max_length(lambda length: filling.setup(max_length=length), facts.place)


def _optimizer(filling: Filling, facts: Facts) -> Choice[str]:
    if facts.place is None:
        return Choice("adamw_torch_fused", "AdamW, what nearly everybody uses.", ("adamw_8bit",))
    return choose_optimizer(filling.setup(), facts.place)


def choose_dtype(facts: Facts) -> Choice[str]:
    """bfloat16 from compute capability 8.0 on, float16 on older cards, float32 without a card."""
    if facts.gpu_name is None:
        return Choice(
            "float32", "No GPU here: a CPU computes fastest and exactest in float32.", ("bfloat16",)
        )
    if facts.compute_capability is None:
        return Choice(
            "bfloat16",
            f"{facts.gpu_name} does not tell its generation; most cards since 2020 support it.",
            ("float16",),
        )
    major, minor = facts.compute_capability
    if major >= 8:
        return Choice(
            "bfloat16",
            f"{facts.gpu_name} (compute capability {major}.{minor}) supports it from 8.0 on.",
            ("float32",),
        )
    return Choice(
        "float16",
        f"{facts.gpu_name} (compute capability {major}.{minor}) has no bfloat16, which needs 8.0; float16 can overflow, so watch for NaN.",
        ("float32",),
    )


def choose_batch_unmeasured(facts: Facts) -> Choice[int]:
    """A per-device batch that is safe where memory cannot be predicted."""
    if facts.gpu_name is None:
        return Choice(8, "On a CPU a batch of 8 keeps the cores busy.", (4, 16))
    if facts.params_b is not None and facts.params_b <= 1.5:
        return Choice(8, f"The model is small ({facts.params_b:.2g} billion parameters), so 8 fit.", (4, 16))
    return Choice(2, "A safe start on any card; raise it when the memory panel shows room.", (1, 4))


def choose_epochs(rows: int) -> Choice[float]:
    """More readings of a small dataset, fewer of a large one."""
    if rows < 5_000:
        return Choice(3.0, f"{rows:,} rows are few, so they are read three times.", (2.0, 1.0))
    if rows < 50_000:
        return Choice(2.0, f"{rows:,} rows are read twice.", (1.0, 3.0))
    return Choice(1.0, f"{rows:,} rows are enough to read once.", (2.0,))


def choose_learning_rate(config: RunConfig, facts: Facts) -> Choice[float]:
    """LoRA takes about ten times the learning rate of full fine-tuning, and preferring far less than imitating."""
    return choose_rate(config.method.objective, config.method.tuning, facts.params_b)


def _checkpointing_unmeasured(facts: Facts) -> Choice[bool]:
    """Memory is what a GPU lacks; time is what a CPU lacks."""
    if facts.gpu_name is None:
        return Choice(False, "Main memory is plentiful next to CPU time.", (True,))
    return Choice(
        True,
        "GPU memory is scarce; this saves most of what activations take, for 20 to 30 % more time.",
        (False,),
    )
