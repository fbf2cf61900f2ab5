"""Main memory of a run: the program itself, loading, the dataset, and everything where the processor trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.display import GIB, gib
from engine.errors import UserError
from engine.fit.predict import predict
from engine.fit.types import DTYPE_BYTES, Architecture, TrainSetup
from engine.machine.model import Gpu, Host

# Resident size of a Python process that has loaded torch, transformers, trl, peft and datasets: 0.5 GiB without CUDA, as
# measured; CUDA's libraries and its context add about 2.5 GiB of their own.
_PROGRAM = GIB // 2
_PROGRAM_CUDA = 3 * GIB
# A row is a list of ids and one of labels in Python (48 bytes a token) and again in the dataset's tables (at most as much
# while they are made); measured.
_TOKEN_BYTES = 100
# transformers writes weight files of at most 5 GB; one at a time is read through memory on the way to the card.
_SHARD = 5 * 10**9
_TIGHT_ABOVE = 0.85


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Main memory a run needs.

    Attributes:
        parts: Bytes by name, all training processes together.
        available: What programs can still have; None when the machine is not known.
        total: All of it, or the container's limit.
        limited: The container's limit is what counts.
        later: Bytes that merging the result on the processor will need.
    """

    parts: dict[str, int]
    available: int | None
    total: int | None
    limited: bool
    later: int

    @property
    def needed(self) -> int:
        """Bytes at the fullest moment."""
        return sum(self.parts.values())

    @property
    def verdict(self) -> Literal["fits", "tight", "no", "unknown"]:
        """Against what is available now."""
        if self.available is None:
            return "unknown"
        if self.needed > self.available:
            return "no"
        return "tight" if self.needed > _TIGHT_ABOVE * self.available else "fits"


def memory_of(
    architecture: Architecture, setup: TrainSetup, host: Host | None, gpu: Gpu | None, tokens: float | None
) -> MemoryNeed:
    """Add it up.

    Args:
        architecture: The model.
        setup: The run.
        host: This computer.
        gpu: The card that trains; None for the processor.
        tokens: Tokens of the whole dataset; None when not counted.
    """
    processes = setup.num_gpus
    parts = {"program": processes * (_PROGRAM if gpu is None else _PROGRAM_CUDA)}
    if tokens:
        parts["dataset"] = processes * int(tokens * _TOKEN_BYTES)
    stored = architecture.params * DTYPE_BYTES.get(architecture.checkpoint_dtype, 2)
    if setup.sharding == "fsdp":
        # Accelerate's cpu_ram_efficient_loading: the first process holds all weights, then deals them out.
        parts["loading"] = architecture.params * DTYPE_BYTES[setup.dtype]
    elif gpu is None or gpu.unified_memory:
        parts["training"] = processes * predict(architecture, setup).allocated.p95
    else:
        # Loading is over before the dataset's tables are made from rows that are already there.
        parts["loading"] = processes * min(stored, _SHARD)
    merging = 2 * architecture.params + min(stored, _SHARD) + _PROGRAM
    later = merging if setup.tuning == "lora" else 0
    if host is None:
        return MemoryNeed(parts, None, None, False, later)
    return MemoryNeed(parts, host.ram_available, host.ram_total, host.ram_limited, later)


def problem_of(need: MemoryNeed) -> UserError | None:
    """Why the computer's memory is sure to run out; None when it may suffice."""
    if need.total is None or need.needed <= need.total:
        return None
    largest = max(need.parts, key=lambda name: need.parts[name])
    fix = {
        "training": "Choose a smaller model, QLoRA, shorter texts or a smaller batch, or a machine with a GPU.",
        "dataset": "Use fewer rows: a part of the dataset often teaches nearly as much.",
        "loading": "Choose a smaller model, or a machine with more memory.",
        "program": "Train with fewer processes, or take a machine with more memory.",
    }[largest]
    limit = "the container may use" if need.limited else "the computer has"
    return UserError(
        f"The computer's memory is too small: this run needs {gib(need.needed)}, and {limit} {gib(need.total)}.",
        f"memory of the computer, mostly for: {largest}",
        fix,
    )
