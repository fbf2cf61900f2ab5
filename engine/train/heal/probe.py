"""Two real steps on the longest rows before training begins, which leave no trace but a number: the memory they took.

The optimizer makes its states at its first step, so the second one is the first that needs all the memory a run ever needs. With a
learning rate of zero no weight moves; random state, gradients, optimizer, loss scale and the trainer's counters are put back.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.data.forms import Labelled, PromptOnly
from engine.display import gib
from engine.errors import UserError
from engine.fit.cards import find_card
from engine.fit.predict import predict
from engine.fit.setup import architecture_of, setup_of
from engine.fit.types import Prediction
from engine.run import atomic, changes
from engine.run.changes import Change
from engine.run.layout import RunDir
from engine.train.heal.agree import strongest
from engine.train.heal.recover import Restart, this_attempt
from engine.train.recorder import Recorder

STEPS = 2
FULL = 0.9  # share of the card that a raised batch may fill: later batches fragment memory in other ways


@dataclass(frozen=True, slots=True)
class Measured:
    """What two steps on the longest rows took.

    Attributes:
        tokens: Length of the longest row.
        rows: Rows at once.
        steady: Bytes of weights and optimizer states; 0 where it cannot be told, as on a CPU.
        allocated: Most bytes in use by tensors; 0 likewise.
        reserved: Most bytes taken from the card; 0 likewise.
        seconds: How long it took.
    """

    tokens: int
    rows: int
    steady: int
    allocated: int
    reserved: int
    seconds: float


class Probe(TrainerCallback):
    """Probes a new run on a GPU when the trainer has everything ready. Set `trainer` before it trains.

    Not run on a real GPU yet: there the interface is torch's own, on CPUs the steps and what they leave are tested.
    """

    trainer: Any = None

    def __init__(self, run: RunDir, recorder: Recorder, config: RunConfig) -> None:
        self.run = run
        self.recorder = recorder
        self.config = config

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Probe, say what was measured, and ask for a larger batch where there is room.

        Raises:
            Restart: To go on with a larger batch in a new process.
        """
        form = OBJECTIVES[self.config.method.objective].form
        fits = torch.cuda.is_available() and form is not PromptOnly  # made-up answers have no longest row
        if not self.config.healing.probe or state.global_step > 0 or not fits:
            return
        self.recorder.phase("probing", "Trying the longest rows, to see how much memory they take.")
        found = measure(self.trainer)
        predicted = self._predicted(found)
        self.recorder.emit(
            "phase", phase="probed", words=words_of(found, predicted), **_fields(found, predicted)
        )
        self.recorder.say(words_of(found, predicted))
        factor = 1 if form is Labelled else self._room(found)  # kto pairs rows by batch when it prepares them
        if factor > 1:
            self._raise(factor)

    def _predicted(self, found: Measured) -> Prediction | None:
        try:
            architecture = architecture_of(self.config.model.model_name_or_path)
            card = find_card(torch.cuda.get_device_name())
            return predict(architecture, setup_of(self.config, found.tokens), card=card)
        except UserError:
            return None

    def _room(self, found: Measured) -> int:
        """How many times larger the batch may be; the same on every process."""
        chosen = (atomic.read_json(self.run.launch) or {}).get("chosen")
        if not isinstance(chosen, list) or "per_device_train_batch_size" not in chosen:
            return 1
        if any(change.why == "out of memory" for change in changes.read(self.run)):
            return 1
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
        factor = larger(found, free, self.config.training.gradient_accumulation_steps or 1)
        return -strongest(-factor)

    def _raise(self, factor: int) -> None:
        batch = self.config.training.per_device_train_batch_size or 1
        accumulation = self.config.training.gradient_accumulation_steps or 1
        keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
        after = dict(zip(keys, (batch * factor, accumulation // factor), strict=True))
        words = (
            f"There is room on the card: from here on {batch * factor} rows at once instead of {batch}, and fewer such batches "
            "added up, so the rows of a step stay the same and it is faster."
        )
        before = dict(zip(keys, (batch, accumulation), strict=True))
        changes.propose(self.run, Change("room for more", words, this_attempt(self.run), 0, before, after))
        raise Restart


def measure(trainer: Any) -> Measured:
    """Take the longest rows through two steps and put everything back.

    Args:
        trainer: With its model and optimizer prepared, as they are when training begins. The optimizer must have no states yet.
    """
    longest, tokens = longest_rows(trainer.train_dataset, trainer.args.per_device_train_batch_size)
    # Some trainers get the rows of a whole step and compute a part of them at once.
    at_once = min(getattr(trainer, "rows_at_once", None) or len(longest), len(longest))
    began = time.monotonic()
    with untouched(trainer):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        for _ in range(STEPS):
            # Collated anew: trainers write into what they are given.
            # From the second batch that is added up on, the gradients of the first are held beside it.
            for _ in range(min(2, trainer.args.gradient_accumulation_steps)):
                inputs = _batch(trainer, longest)
                count = trainer._get_num_items_in_batch([inputs], trainer.args.device)
                trainer.training_step(trainer.model_wrapped, inputs, count)
                del inputs
            trainer.optimizer.step()
            trainer.model_wrapped.zero_grad()
        cuda = torch.cuda.is_available()
        steady = torch.cuda.memory_allocated() if cuda else 0
        allocated = torch.cuda.max_memory_allocated() if cuda else 0
        reserved = torch.cuda.max_memory_reserved() if cuda else 0
    return Measured(tokens, at_once, steady, allocated, reserved, round(time.monotonic() - began, 1))


def longest_rows(dataset: Any, count: int) -> tuple[list[int], int]:
    """Indices of the rows with most tokens, longest first, and the tokens of the longest."""
    lengths = [0] * len(dataset)
    for column in dataset.column_names:
        # Token ids; masks and labels are as long as what they go with.
        if column.endswith("ids"):
            for index, value in enumerate(dataset[column]):
                lengths[index] += len(value) if isinstance(value, Sequence) else 0
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])[:count]
    return order, lengths[order[0]] if order else 0


def larger(found: Measured, free: int, accumulation: int) -> int:
    """By how much the batch may be multiplied.

    Args:
        found: With the batch as it is.
        free: Bytes of the card that this process may have, with those it has.
        accumulation: Batches added up; the factor divides it, so that the rows of a step stay the same.
    """
    grows = found.reserved - found.steady
    factor = 1
    while accumulation % (factor * 2) == 0 and found.steady + grows * factor * 2 <= free * FULL:
        factor *= 2
    return factor


def words_of(found: Measured, predicted: Prediction | None) -> str:
    """Measured against predicted."""
    rows = "the longest row" if found.rows == 1 else f"the {found.rows} longest rows at once"
    told = f"Measured on {rows} (up to {found.tokens:,} tokens): {gib(found.allocated)} in use at the most"
    if predicted is None:
        return f"{told}."
    off = found.allocated / predicted.allocated.p50 - 1
    return f"{told}; predicted were {gib(predicted.allocated.p50)} ({off:+.0%})."


@contextmanager
def untouched(trainer: Any) -> Iterator[None]:
    """Put back what steps with a learning rate of zero change: everything but the weights, which do not move."""
    from engine.train.safe_save import preserved_random_state

    model, optimizer, scaler = trainer.model, trainer.optimizer, getattr(trainer.accelerator, "scaler", None)
    counters = {key: copy.deepcopy(value) for key, value in vars(trainer).items() if _is_counter(key, value)}
    scale = copy.deepcopy(scaler.state_dict()) if scaler is not None else None
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    rates = [group["lr"] for group in optimizer.param_groups]
    mode = model.training
    synced = trainer.accelerator.gradient_state.sync_gradients
    try:
        with preserved_random_state():
            for group in optimizer.param_groups:
                group["lr"] = 0.0
            trainer.current_gradient_accumulation_steps = 1
            trainer.accelerator.gradient_state._set_sync_gradients(True)
            yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        _forget(optimizer)
        trainer.model_wrapped.zero_grad()
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
        if scaler is not None:
            scaler.load_state_dict(scale)
        trainer.accelerator.gradient_state._set_sync_gradients(synced)
        model.train(mode)
        for key in [key for key, value in vars(trainer).items() if _is_counter(key, value)]:
            if key not in counters:
                delattr(trainer, key)
        vars(trainer).update(counters)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _forget(optimizer: Any) -> None:
    """Drop an optimizer's states, so that it makes them anew at its first step."""
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    inner.state.clear()
    paged = getattr(inner, "page_mng", None)
    if paged is not None:  # bitsandbytes keeps paged states in a list of its own, too
        paged.paged_tensors.clear()


def _is_counter(key: str, value: Any) -> bool:
    """Plain numbers, and the sums from which TRL's trainers make their metrics."""
    return key in ("_metrics", "_stored_metrics") or value is None or isinstance(value, bool | int | float)


def _batch(trainer: Any, rows: list[int]) -> Any:
    chosen = trainer.train_dataset.select(rows)
    chosen = trainer._remove_unused_columns(chosen)
    collate = getattr(trainer, "collator", None) or trainer.data_collator
    made = collate([chosen[index] for index in range(len(chosen))])
    if "parts" in made:
        largest = max(made["parts"], key=lambda part: part["input_ids"].numel())
        return {"parts": [dict(largest) for _ in made["parts"][:2]]}
    return made


def _fields(found: Measured, predicted: Prediction | None) -> dict[str, Any]:
    fields = {"tokens": found.tokens, "rows": found.rows, "seconds": found.seconds}
    fields |= {"measured_allocated": found.allocated, "measured_reserved": found.reserved}
    if predicted is not None:
        fields |= {"predicted_p50": predicted.allocated.p50, "predicted_p95": predicted.allocated.p95}
    return fields
