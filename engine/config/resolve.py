"""Filling in what the user left open, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from engine.choice import Choice
from engine.config.schema import RunConfig, Section

Reasons = dict[str, str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choices depend on.

    Attributes:
        num_rows: Usable training rows, before any are held out; None when not counted.
        params_b: Parameters of the model in billions; None when unknown.
        gpu_name: The card that trains; None for a machine without one.
        compute_capability: Of that card, such as (8, 9).
    """

    num_rows: int | None = None
    params_b: float | None = None
    gpu_name: str | None = None
    compute_capability: tuple[int, int] | None = None


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
    choices: dict[str, Choice[Any]] = {}
    model, training, watch = config.model, config.training, config.watch

    def choose(section: Section, key: str, choice: Choice[Any]) -> Any:
        if getattr(section, key) is not None:
            return getattr(section, key)
        choices[key] = choice
        return choice.value

    dtype = choose(model, "dtype", choose_dtype(facts))
    rows = max(
        1,
        round(
            (facts.num_rows or 1000) * (1 - (config.data.eval_fraction if config.data.eval is None else 0))
        ),
    )
    batch = choose(training, "per_device_train_batch_size", choose_batch(facts))
    accumulation = choose(
        training, "gradient_accumulation_steps", choose_accumulation(rows, batch * training.num_processes)
    )
    epochs = choose(training, "num_train_epochs", choose_epochs(rows))
    steps = training.max_steps
    if steps < 0:
        steps = math.ceil(math.ceil(rows / (batch * training.num_processes)) / accumulation * epochs)
    interval = max(1, round(steps / 10))
    resolved = config.model_copy(
        update={
            "model": model.model_copy(update={"dtype": dtype}),
            "training": training.model_copy(
                update={
                    "per_device_train_batch_size": batch,
                    "gradient_accumulation_steps": accumulation,
                    "num_train_epochs": epochs,
                    "per_device_eval_batch_size": choose(
                        training,
                        "per_device_eval_batch_size",
                        Choice(
                            batch, f"{batch}, the same as in training, so evaluation needs no more memory."
                        ),
                    ),
                    "learning_rate": choose(training, "learning_rate", choose_learning_rate(config, facts)),
                    "gradient_checkpointing": choose(
                        training, "gradient_checkpointing", choose_checkpointing(facts)
                    ),
                }
            ),
            "watch": watch.model_copy(
                update={
                    "eval_steps": choose(
                        watch, "eval_steps", Choice(interval, f"Ten measurements over about {steps} steps.")
                    ),
                    "save_steps": choose(
                        watch,
                        "save_steps",
                        Choice(interval, f"A crash costs at most {interval} of about {steps} steps."),
                    ),
                }
            ),
        }
    )
    return Resolved(resolved, choices)


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


def choose_batch(facts: Facts) -> Choice[int]:
    """A per-device batch that is safe before memory was measured."""
    if facts.gpu_name is None:
        return Choice(8, "On a CPU a batch of 8 keeps the cores busy.", (4, 16))
    if facts.params_b is not None and facts.params_b <= 1.5:
        return Choice(8, f"The model is small ({facts.params_b:.2g} billion parameters), so 8 fit.", (4, 16))
    return Choice(2, "A safe start on any card; raise it when the memory panel shows room.", (1, 4))


def choose_accumulation(rows: int, rows_at_once: int) -> Choice[int]:
    """Aim at 16 rows a step, fewer when the dataset is so small that there would be hardly any steps."""
    target = 16 if rows >= 800 else 8
    steps = max(1, target // rows_at_once)
    return Choice(
        steps,
        f"{rows_at_once * steps} rows a step ({rows_at_once} at once, {steps} times), good for {rows:,} rows.",
    )


def choose_epochs(rows: int) -> Choice[float]:
    """More readings of a small dataset, fewer of a large one."""
    if rows < 5_000:
        return Choice(3.0, f"{rows:,} rows are few, so they are read three times.", (2.0, 1.0))
    if rows < 50_000:
        return Choice(2.0, f"{rows:,} rows are read twice.", (1.0, 3.0))
    return Choice(1.0, f"{rows:,} rows are enough to read once.", (2.0,))


def choose_learning_rate(config: RunConfig, facts: Facts) -> Choice[float]:
    """LoRA takes about ten times the learning rate of full fine-tuning."""
    if config.method.tuning == "full":
        return Choice(2e-5, "Full fine-tuning changes every weight, so it takes small steps.", (1e-5, 5e-5))
    if facts.params_b is not None and facts.params_b >= 13:
        return Choice(1e-4, f"LoRA on a large model ({facts.params_b:.0f} billion parameters).", (2e-4, 5e-5))
    return Choice(2e-4, "The usual rate for LoRA, ten times that of full fine-tuning.", (1e-4, 5e-4))


def choose_checkpointing(facts: Facts) -> Choice[bool]:
    """Memory is what a GPU lacks; time is what a CPU lacks."""
    if facts.gpu_name is None:
        return Choice(False, "Main memory is plentiful next to CPU time.", (True,))
    return Choice(
        True,
        "GPU memory is scarce; this saves most of what activations take, for 20 to 30 % more time.",
        (False,),
    )
