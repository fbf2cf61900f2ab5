"""How long a run will take: from earlier runs on this machine where there are some, else from the card's data sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import RunConfig
from engine.display import printable
from engine.fit.budget_disk import Sizes, stored_bytes
from engine.fit.calibrate import Measured, from_runs, padded
from engine.fit.throughput import Device, device_of, evaluation_seconds, step_seconds
from engine.fit.types import Architecture, TrainSetup
from engine.machine.model import Gpu, Machine

# How far the truth may lie from the middle: the middle divided by the first, times the second.
_ESTIMATED, _ROUGH, _ALIKE, _SAME = (1.7, 1.8), (2.5, 3.0), (1.35, 1.4), (1.12, 1.15)
_UNKNOWN_ROWS = 3.0  # more, where nobody counted the tokens
_UNKNOWN_FILL = 0.5  # rows then fill so much of max_length
# Bytes a second, slow, ordinary, fast: the Hub over rented machines' networks, reading from and writing to their disks.
_DOWNLOAD = (20e6, 100e6, 400e6)
_READ = (0.3e9, 1.2e9, 3e9)
_WRITE = (0.15e9, 0.5e9, 1.5e9)
_START = (8.0, 20.0, 45.0)  # seconds to load the libraries and the tokenizer


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration: hardly below ``low``, about ``middle``, hardly above ``high``."""

    low: float
    middle: float
    high: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.low + other.low, self.middle + other.middle, self.high + other.high)


@dataclass(frozen=True, slots=True)
class Steps:
    """How much is trained.

    Attributes:
        steps: Optimizer steps.
        batches: Batches of each device over all of them.
        evaluations: How often the held-out rows are measured.
        eval_batches: Batches of each device in one evaluation.
        rows: Rows seen in training, repeated ones counted again.
    """

    steps: int
    batches: int
    evaluations: int
    eval_batches: int
    rows: int


@dataclass(frozen=True, slots=True)
class TimeNeed:
    """How long a run takes.

    Attributes:
        parts: By name: download, loading, training, evaluation, saving.
        tokens_per_second: Expected in training, over all devices, padding not counted.
        measured: The earlier run that it rests on; None for an estimate.
        basis: Where the speed comes from, in a sentence.
    """

    parts: dict[str, Seconds]
    tokens_per_second: float
    measured: Measured | None
    basis: str

    @property
    def total(self) -> Seconds:
        """From pressing start to the result."""
        return sum(self.parts.values(), Seconds(0, 0, 0))


def steps_of(config: RunConfig, setup: TrainSetup, rows: int) -> Steps:
    """Count steps as the trainer does.

    Args:
        config: The run.
        setup: The run as the predictors see it.
        rows: Usable rows, before any are held out.
    """
    held_out = 0 if config.data.eval is not None else round(rows * config.data.eval_fraction)
    learnt = max(1, rows - held_out)
    at_once = setup.batch * setup.num_gpus
    an_epoch = math.ceil(learnt / at_once)
    steps_an_epoch = max(1, math.ceil(an_epoch / setup.gradient_accumulation))
    steps = config.training.max_steps
    if steps < 0:
        steps = math.ceil((config.training.num_train_epochs or 1) * steps_an_epoch)
    batches = math.ceil(steps / steps_an_epoch * an_epoch)
    every = config.watch.eval_steps or max(1, round(steps / 10))
    evaluates = setup.eval_batch > 0 and (held_out or config.data.eval is not None)
    return Steps(
        steps=steps,
        batches=batches,
        # One before the first step, and one at the end where the last step has none.
        evaluations=1 + math.ceil(steps / every) if evaluates else 0,
        eval_batches=math.ceil((held_out or rows * 0.05) / (max(1, setup.eval_batch) * setup.num_gpus))
        if evaluates
        else 0,
        rows=round(steps / steps_an_epoch * learnt),
    )


def time_of(
    config: RunConfig,
    architecture: Architecture,
    setup: TrainSetup,
    machine: Machine | None,
    gpu: Gpu | None,
    steps: Steps,
    sizes: Sizes,
    tokens_per_row: float | None,
    runs: Path,
) -> TimeNeed | None:
    """Add it up; None where nothing is known of the card's speed.

    Args:
        config: The run.
        architecture: Its model.
        setup: The run as the predictors see it.
        machine: This machine; None when only a card is planned for.
        gpu: The card; None for the processor.
        steps: How much is trained.
        sizes: How much is downloaded and written.
        tokens_per_row: Mean length of a row, cut at max_length; None when not counted.
        runs: The folder with one folder a run, to learn from.
    """
    device = device_of(gpu, machine.host if machine else None, setup.dtype)
    if device is None:
        return None
    mean = tokens_per_row or _UNKNOWN_FILL * setup.seq_len
    mean = max(1.0, min(mean, setup.seq_len))
    measured = from_runs(architecture, setup, device, gpu, machine, runs) if machine is not None else None
    ratio = measured.ratio if measured else 1.0
    length = padded(mean, setup.batch, setup.seq_len)
    training = steps.batches * step_seconds(architecture, setup, device, length) / ratio
    evaluation = 0.0
    if steps.evaluations:
        eval_length = padded(mean, setup.eval_batch, setup.seq_len)
        one = evaluation_seconds(architecture, setup, device, eval_length) / ratio
        evaluation = steps.evaluations * steps.eval_batches * one
    down, up = _spread(measured, device)
    more = 1.0 if tokens_per_row else _UNKNOWN_ROWS
    stored = stored_bytes(config.model.model_name_or_path, architecture)
    parts = {
        "download": _moved(sizes.download, _DOWNLOAD),
        "loading": Seconds(*_START) + _moved(stored, _READ),
        "training": Seconds(training / down / more, training, training * up * min(more, 1 / _UNKNOWN_FILL)),
        "evaluation": Seconds(
            evaluation / down / more, evaluation, evaluation * up * min(more, 1 / _UNKNOWN_FILL)
        ),
        "saving": _moved(sizes.writes * sizes.checkpoint + sizes.result, _WRITE),
    }
    speed = steps.rows * mean / training if training else 0.0
    return TimeNeed(parts, speed, measured, _basis(measured, device, tokens_per_row))


def _spread(measured: Measured | None, device: Device) -> tuple[float, float]:
    if measured is not None:
        return _SAME if measured.same else _ALIKE
    return _ROUGH if device.rough else _ESTIMATED


def _basis(measured: Measured | None, device: Device, tokens_per_row: float | None) -> str:
    name = printable(device.name, 40)
    if measured is not None:
        words = f"Measured on this machine in run {printable(measured.run, 30)}."
    elif device.rough:
        words = f"A rough guess for {name}, not measured."
    else:
        words = f"Estimated from the speed of {name}, not measured."
    return words if tokens_per_row else f"{words} Texts of half max_length assumed."


def _moved(num_bytes: int, rates: tuple[float, float, float]) -> Seconds:
    slow, ordinary, fast = rates
    return Seconds(num_bytes / fast, num_bytes / ordinary, num_bytes / slow)
