"""What a run costs beside the card's memory: disk, main memory, time and money, before it starts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.schema import RunConfig
from engine.display import GIB, gib, printable
from engine.errors import UserError
from engine.fit import budget_disk, budget_memory
from engine.fit.budget_disk import MountNeed, Sizes, hub_cache, mounts_of, sizes_of
from engine.fit.budget_memory import MemoryNeed, memory_of
from engine.fit.budget_time import Seconds, Steps, TimeNeed, steps_of, time_of
from engine.fit.types import Architecture, TrainSetup
from engine.machine.model import Disk, Gpu, Machine
from engine.run.home import runs_home

WIDTH = 75
_VERDICT = {"fits": "fits", "tight": "gets tight", "no": "not enough", "unknown": "free space unknown"}
_CENT = 0.01


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run needs beside the card's memory.

    Attributes:
        sizes: Bytes of everything it downloads and writes.
        mounts: Each file system with what lands on it.
        memory: Main memory.
        steps: How much is trained; None when the rows were not counted.
        time: How long it takes; None where that cannot be told.
        time_unknown: Why it cannot be told, in a sentence; empty when it can.
        price_per_hour: What the machine costs.
        disks: Every file system of the machine, to name a roomier one.
    """

    sizes: Sizes
    mounts: tuple[MountNeed, ...]
    memory: MemoryNeed
    steps: Steps | None
    time: TimeNeed | None
    time_unknown: str
    price_per_hour: float | None
    disks: tuple[Disk, ...] = ()

    @property
    def money(self) -> Seconds | None:
        """Low, middle and high price of the run; None without a price or a time."""
        if self.time is None or self.price_per_hour is None:
            return None
        total, each = self.time.total, self.price_per_hour / 3600
        return Seconds(total.low * each, total.middle * each, total.high * each)

    @property
    def problems(self) -> tuple[UserError, ...]:
        """What is sure to make the run fail, each with a way out."""
        found = [budget_disk.problem_of(need, self.disks) for need in self.mounts]
        return tuple(problem for problem in [*found, budget_memory.problem_of(self.memory)] if problem)

    def lines(self, width: int = WIDTH) -> list[str]:
        """A few plain lines of at most so many characters; what continues a line is indented."""
        return [line for text in self._sentences() for line in _wrapped(text, width)]

    def as_json(self) -> dict[str, Any]:
        """Bytes, seconds and verdicts for ``--json``."""
        time = self.time
        money = self.money
        return {
            "disks": [
                {
                    "mount": str(need.disk.mount),
                    "free_bytes": need.disk.free if need.disk.total else None,
                    "needed_bytes": need.needed,
                    "parts": need.parts,
                    "export_later_bytes": need.later,
                    "verdict": need.verdict,
                    "verdict_with_export": need.later_verdict,
                }
                for need in self.mounts
            ],
            "memory": {
                "needed_bytes": self.memory.needed,
                "parts": self.memory.parts,
                "available_bytes": self.memory.available,
                "total_bytes": self.memory.total,
                "container_limit": self.memory.limited,
                "merge_later_bytes": self.memory.later,
                "verdict": self.memory.verdict,
            },
            "steps": self.steps.steps if self.steps else None,
            "seconds": None
            if time is None
            else {
                "total": _as_list(time.total),
                "parts": {name: _as_list(part) for name, part in time.parts.items()},
                "tokens_per_second": round(time.tokens_per_second, 1),
                "measured_in": time.measured.run if time.measured else None,
                "share_of_peak": round(time.measured.share, 4) if time.measured else None,
                "basis": time.basis,
            },
            "seconds_unknown": self.time_unknown or None,
            "price_per_hour": self.price_per_hour,
            "money": _as_list(money, 4) if money else None,
            "problems": [{"what": e.what, "where": e.where, "fix": e.fix} for e in self.problems],
        }

    def _sentences(self) -> Iterator[str]:
        if self.time is None:
            yield f"Time: {self.time_unknown}"
        else:
            total = self.time.total
            yield (
                f"Time: about {spoken(total.middle)} ({spoken(total.low)} to {spoken(total.high)}). "
                f"{self.time.basis}"
            )
        money = self.money
        if money is not None:
            spans = f"about {_money(money.middle)} ({_money(money.low)} to {_money(money.high)})"
            amount = spans if money.high >= _CENT else _money(money.high)
            yield f"Money: {amount} at ${self.price_per_hour:,.2f} an hour, estimated"
        for need in self.mounts:
            if need.parts:
                yield _disk_words(need)
        yield self._memory_words()

    def _memory_words(self) -> str:
        memory = self.memory
        words = f"Memory of the computer: {gib(memory.needed)}"
        if memory.available is not None:
            words += f" of {gib(memory.available)} available"
            words += f": {_VERDICT[memory.verdict]}" if memory.verdict != "fits" else ""
        if memory.later and memory.total is not None and memory.later > memory.total:
            words += f"; merging later on this machine would need {gib(memory.later)}"
        return words


def budget_of(
    config: RunConfig,
    architecture: Architecture,
    setup: TrainSetup,
    machine: Machine | None,
    gpu: Gpu | None,
    *,
    rows: int | None,
    tokens_per_row: float | None = None,
    price_per_hour: float | None = None,
    runs: Path | None = None,
    hub: Path | None = None,
) -> Budget:
    """What a run needs beside the card's memory.

    Args:
        config: The run; open values count as the trainer's defaults.
        architecture: Its model.
        setup: The run as the predictors see it.
        machine: This machine; None when it is not known.
        gpu: The card that trains; None for the processor.
        rows: Usable rows, before any are held out; None when not counted.
        tokens_per_row: Mean tokens of a row, cut at max_length; None when not counted.
        price_per_hour: What an hour of the machine costs.
        runs: The folder with one folder a run; by default finetui's own.
        hub: The Hub's download cache; by default the one its library uses.

    Raises:
        UserError: The setup cannot be meant.
    """
    runs, hub = runs or runs_home(), hub or hub_cache()
    steps = steps_of(config, setup, rows) if rows else None
    sizes = sizes_of(config, architecture, setup, steps.steps if steps else None, hub)
    tokens = rows * (tokens_per_row or setup.seq_len / 2) if rows else None
    time, unknown = None, "unknown, because the rows of the dataset were not counted."
    if steps is not None:
        time = time_of(config, architecture, setup, machine, gpu, steps, sizes, tokens_per_row, runs)
        name = printable(gpu.name, 40) if gpu is not None else "this computer"
        unknown = "" if time else f"unknown, because the speed of {name} is not in the table."
    return Budget(
        sizes=sizes,
        mounts=mounts_of(sizes, machine, runs, hub),
        memory=memory_of(architecture, setup, machine.host if machine else None, gpu, tokens),
        steps=steps,
        time=time,
        time_unknown=unknown,
        price_per_hour=price_per_hour,
        disks=machine.disks if machine else (),
    )


def spoken(seconds: float) -> str:
    """A duration as people say it, rounded: ``40 s``, ``12 min``, ``1 h 10 min``, ``2 days 3 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 600:
        hours, rest = divmod(round(minutes / 5) * 5, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    hours = round(minutes / 60)
    if hours < 48:
        return f"{hours} h"
    days, rest = divmod(hours, 24)
    return f"{days} days {rest} h" if rest else f"{days} days"


def _disk_words(need: MountNeed) -> str:
    disk = need.disk
    free = f" of {_short(disk.free)} free" if disk.total and disk.free_reliable else ""
    parts = ", ".join(f"{_short(size)} {name}" for name, size in need.parts.items() if size >= 2**20)
    words = f"Disk: {_short(need.needed)}{free} on {printable(disk.mount, 40)} ({_VERDICT[need.verdict]})"
    words += f": {parts}" if parts else ""
    if need.later:
        words += f"; export later needs {_short(need.later)} more"
        if need.later_verdict == "no" and need.verdict != "no":
            words += ", which is not there"
    return words


def _short(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.0f} GiB" if num_bytes >= 10 * GIB else gib(num_bytes)


def _money(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= _CENT else "less than $0.01"


def _as_list(value: Seconds, digits: int = 1) -> list[float]:
    return [round(number, digits) for number in (value.low, value.middle, value.high)]


def _wrapped(text: str, width: int) -> list[str]:
    # A number stays on one line with its unit: textwrap does not break at the no-break space.
    glued = re.sub(r"(?<=\d) (?=[A-Za-z])", "\u00a0", text)
    lines = textwrap.wrap(glued, width, subsequent_indent="  ", break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines]
