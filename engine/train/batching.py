"""How a trainer goes through its data: the rows of a whole step at once, in an order that a resumed run finds again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils.data import Sampler

from engine.config.schema import RunConfig
from engine.train.model import is_split
from engine.train.objectives.base import Warn
from engine.train.packing import Layout, Row, StepCollator, fill_lines, keeps_apart

POOL = 50  # steps whose rows are sorted by length together


def rows_per_batch(config: RunConfig) -> tuple[int, int]:
    """Rows the data loader hands out at once on a process, and how many such batches make a step.

    Where the model is whole on each process, they are the rows of a whole step: how many of them are computed at once is decided when
    their lengths are known. Processes that share a model must compute the same number of batches, whatever they hold.
    """
    training = config.training
    batch, accumulated = training.per_device_train_batch_size or 1, training.gradient_accumulation_steps or 1
    if config.method.objective not in ("sft", "cpt") or is_split(config):
        return batch, accumulated
    return batch * accumulated, 1


class StepBatches:
    """Mixed into an SFT trainer: takes the rows of a step apart into parts that fit, and adds their gradients up.

    Attributes:
        collator: Lays out the rows of a training step; without it batches are padded as TRL does.
        rows_at_once: Rows of the longest kind that are computed at once.
        group_by_length: Rows of like length come in the same step.
    """

    collator: StepCollator | None = None
    rows_at_once: int | None = None
    group_by_length: bool = False
    args: Any
    model: Any
    accelerator: Any
    data_collator: Any
    train_dataset: Any
    current_gradient_accumulation_steps: int

    def get_train_dataloader(self) -> Any:
        """As transformers does, with the step's own collator; evaluation keeps the padded one."""
        if self.collator is None:
            return super().get_train_dataloader()  # type: ignore[misc]
        padded, self.data_collator = self.data_collator, self.collator
        try:
            return super().get_train_dataloader()  # type: ignore[misc]
        finally:
            self.data_collator = padded

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if not self.group_by_length:
            return super()._get_train_sampler(dataset)  # type: ignore[misc]
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthSampler(row_lengths(dataset), rows, self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """Forward and backward of every part; gradients travel between processes with the last one only."""
        parts = inputs.get("parts")
        if parts is None:
            return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        batches = self.current_gradient_accumulation_steps
        self.current_gradient_accumulation_steps = batches * len(parts)
        total: Any = 0.0
        try:
            for number, part in enumerate(parts, 1):
                last = number == len(parts)
                with nullcontext() if last else self.accelerator.no_sync(model=model):
                    total = total + super().training_step(model, part, num_items_in_batch)  # type: ignore[misc]
        finally:
            self.current_gradient_accumulation_steps = batches
        return total

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: Any) -> Any:
        parts = [part for batch in batch_samples for part in batch.get("parts", [batch])]
        return super()._get_num_items_in_batch(parts, device)  # type: ignore[misc]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Of all parts."""
        parts = inputs.get("parts", [inputs])
        return sum(super(StepBatches, self).floating_point_ops(part) for part in parts)  # type: ignore[misc]


class LengthSampler(Sampler[int]):
    """Rows of like length in the same step, the steps in random order.

    The order depends on the seed and the number of the epoch only, so a run that goes on from a checkpoint finds it again.
    """

    def __init__(self, lengths: Sequence[int], rows_a_step: int, seed: int) -> None:
        self.lengths = lengths
        self.rows_a_step = rows_a_step
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each reading of the data."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=chance).tolist()
        size, pool = self.rows_a_step, self.rows_a_step * POOL
        steps: list[list[int]] = []
        for start in range(0, len(order), pool):
            alike = sorted(order[start : start + pool], key=lambda index: -self.lengths[index])
            steps += [alike[at : at + size] for at in range(0, len(alike), size)]
        whole = [step for step in steps if len(step) == size]
        for number in torch.randperm(len(whole), generator=chance).tolist():
            yield from whole[number]
        for step in steps:  # the last, smaller one stays last, or every step after it would be out of place
            if len(step) < size:
                yield from step


def lay_out(trainer: Any, config: RunConfig, tokenizer: Any, warn: Warn) -> str | None:
    """Decide how the rows of a step lie, and tell the trainer.

    Packing is used only where a trial on the live model shows that rows stay apart; else rows of like length are computed together.

    Args:
        trainer: One with `StepBatches`; others are left alone.
        config: The run.
        tokenizer: With its pad token.
        warn: Told when packing was asked for and cannot be.

    Returns:
        A sentence for the log; None where there is nothing to say.
    """
    if not isinstance(trainer, StepBatches) or not len(trainer.train_dataset):
        return None
    training, split = config.training, is_split(config)
    rows = trainer.train_dataset
    lengths = row_lengths(rows)
    batch = training.per_device_train_batch_size or 1
    layout: Layout = "padded"
    if training.packing is not False and not split:
        wanted: Layout = (
            "flat" if trainer.model.config._attn_implementation == "flash_attention_2" else "lines"
        )
        sample: list[Row] = [rows[index] for index in range(min(3, len(rows)))]
        if keeps_apart(trainer.model, sample, tokenizer.pad_token_id, wanted):
            layout = wanted
        elif training.packing:
            warn(
                "This model mixes rows that share a line, so each row has a line of its own, and rows of like length are "
                "computed together.",
                "Nothing needs to be done; packing: false in run.yaml leaves out the trial.",
            )
    trainer.rows_at_once = batch
    trainer.group_by_length = bool(training.group_by_length) or (
        layout == "padded" and bool(training.packing)
    )
    if split and layout == "padded":
        return None  # batches as they come: every process computes the same number
    trainer.collator = StepCollator(tokenizer.pad_token_id, layout, None if split else batch * max(lengths))
    return _words(layout, lengths, batch * (training.gradient_accumulation_steps or 1), batch)


def row_lengths(dataset: Any) -> list[int]:
    """Tokens of each row, without reading the tokens where the dataset is a table."""
    table = getattr(dataset, "data", None)
    if table is None or getattr(dataset, "_indices", None) is not None:
        return [len(row["input_ids"]) for row in dataset]
    import pyarrow.compute

    lengths: list[int] = pyarrow.compute.list_value_length(table.column("input_ids")).to_pylist()
    return lengths


def _words(layout: Layout, lengths: Sequence[int], rows_a_step: int, batch: int) -> str:
    """What lying side by side saves, measured on the first steps of the data as they stand."""
    if layout == "padded":
        return "Each row has a line of its own; rows of like length are computed together."
    padded = packed = 0
    for start in range(0, min(len(lengths), 64 * rows_a_step), rows_a_step):
        step = lengths[start : start + rows_a_step]
        padded += sum(
            max(step[at : at + batch]) * len(step[at : at + batch]) for at in range(0, len(step), batch)
        )
        packed += sum(step) if layout == "flat" else max(step) * len(fill_lines(step, max(step)))
    saved = 1 - packed / padded
    if saved < 0.005:
        return "Rows are alike in length, so hardly any padding is needed."
    return f"Short rows share a line: {saved:.0%} fewer tokens are computed than with padding. The model keeps them apart (tried)."
