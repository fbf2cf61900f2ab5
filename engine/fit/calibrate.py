"""How fast earlier runs on this machine really were, against what was expected of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.config.loading import load
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.fit.setup import architecture_of, setup_of
from engine.fit.throughput import Device, step_seconds, work_of
from engine.fit.types import Architecture, TrainSetup
from engine.machine.model import Gpu, Machine
from engine.run import atomic
from engine.run.events import Event, expand, number, parse_line, tail_events
from engine.run.layout import RunDir

_RUNS = 20  # newest first; older ones tell less about the libraries of today
_POINTS = 8  # speeds a run must have reported
_SKIPPED = 2  # the first steps are slow: kernels are loaded and memory is found
_HEAD = 256 * 1024
# Between models that differ more in size, other things limit the speed.
_ALIKE = 8.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one earlier run says about the next.

    Attributes:
        run: Its name.
        ratio: Its real speed over the one expected of it.
        share: The share of the device's peak it reached.
        same: It trained the same model in the same way, so its speed holds nearly as it is.
    """

    run: str
    ratio: float
    share: float
    same: bool


@dataclass(frozen=True, slots=True)
class _Speed:
    """Median tokens a second of a run, padding not counted, over all its devices."""

    tokens_per_second: float
    tokens_per_row: float


def padded(tokens_per_row: float, batch: int, longest: float) -> float:
    """Tokens a row has once it is padded to the longest of its batch, on average.

    Rows are taken to differ by 60 % (one standard deviation), and the longest of a batch to lie where the longest of so
    many normally distributed ones does.
    """
    above = {1: 0.0, 2: 0.56, 3: 0.85, 4: 1.03, 5: 1.16, 6: 1.27, 7: 1.35, 8: 1.42}.get(batch, 1.77)
    return max(tokens_per_row, min(tokens_per_row * (1 + 0.6 * above), longest))


def from_runs(
    architecture: Architecture,
    setup: TrainSetup,
    device: Device,
    gpu: Gpu | None,
    machine: Machine,
    runs: Path,
) -> Measured | None:
    """The earlier run on the same kind of card (or on this processor) that tells most about this one.

    Args:
        architecture: The model of the new run.
        setup: The new run.
        device: What it will compute on.
        gpu: The card; None for the processor.
        machine: This machine.
        runs: The folder with one folder a run.
    """
    best: Measured | None = None
    for run in _newest(runs):
        speed = _speed(run)
        if speed is None or not _same_device(run, gpu, machine):
            continue
        found = _compare(run, speed, architecture, setup, device)
        if found is not None and found.same:
            return found
        best = best or found
    return best


def _compare(
    run: RunDir, speed: _Speed, architecture: Architecture, setup: TrainSetup, device: Device
) -> Measured | None:
    config = _read_config(run.config, run.config.stat().st_mtime_ns) if run.config.is_file() else None
    if config is None:
        return None
    try:
        theirs = architecture_of(config.model.model_name_or_path)
    except UserError:
        return None
    if not 1 / _ALIKE < theirs.params / architecture.params < _ALIKE:
        return None
    then = setup_of(config)
    if then.dtype != setup.dtype:
        return None
    length = padded(speed.tokens_per_row, then.batch, then.seq_len)
    rows_per_second = then.num_gpus * then.batch / step_seconds(theirs, then, device, length)
    expected = rows_per_second * speed.tokens_per_row
    flops = work_of(theirs, then, length).training * speed.tokens_per_second * length / speed.tokens_per_row
    # The number of steps is no part of the work, and accumulation hardly any.
    same = theirs.params == architecture.params and _core(then) == _core(setup)
    return Measured(
        run.name, speed.tokens_per_second / expected, flops / (device.flops * then.num_gpus), same
    )


def _core(setup: TrainSetup) -> TrainSetup:
    return replace(setup, gradient_accumulation=1, eval_batch=0, seq_len=1)


def _newest(runs: Path) -> list[RunDir]:
    try:
        folders = [path for path in runs.iterdir() if (path / "events.jsonl").is_file()]
        folders.sort(key=lambda path: (path / "events.jsonl").stat().st_mtime, reverse=True)
    except OSError:
        return []
    return [RunDir(path) for path in folders[:_RUNS]]


def _same_device(run: RunDir, gpu: Gpu | None, machine: Machine) -> bool:
    launched = atomic.read_json(run.launch) or {}
    env = launched.get("env")
    asked = str(env.get("CUDA_VISIBLE_DEVICES") or "") if isinstance(env, dict) else ""
    if gpu is not None:
        alike = {other.uuid for other in machine.gpus if other.name == gpu.name}
        return bool(asked) and set(asked.split(",")) <= alike
    memory = next((event for event in tail_events(run.events) if event["kind"] == "memory"), {})
    return not asked and memory.get("gpus") == [] and memory.get("host_total") == machine.host.ram_total


def _speed(run: RunDir) -> _Speed | None:
    try:
        stat = run.events.stat()
    except OSError:
        return None
    return _read_speed(run.events, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read_speed(path: Path, changed: int, size: int) -> _Speed | None:
    """The key is the file as it is now: while nothing is appended it is not read again."""
    first = _head(path)
    rows, tokens = _latest(first, "train_rows"), _latest(first, "tokens")
    speeds = [
        speed
        for event in [*(first if size > _HEAD else ()), *tail_events(path, _HEAD)]
        if event["kind"] == "metric"
        for point in expand(event)
        if (speed := number(point.get("tokens_per_second"))) is not None and speed > 0
    ][_SKIPPED:]
    if len(speeds) < _POINTS or not rows or not tokens:
        return None
    return _Speed(statistics.median(speeds), tokens / rows)


@lru_cache(maxsize=64)
def _read_config(path: Path, changed: int) -> RunConfig | None:
    """Keyed like the speeds, because reading YAML takes longer than all the rest."""
    try:
        return load(path)
    except UserError:
        return None


def _head(path: Path) -> list[Event]:
    try:
        with open(path, "rb") as handle:
            lines = handle.read(_HEAD).split(b"\n")
    except OSError:
        return []
    return [event for line in lines if line and (event := parse_line(line)) is not None]


def _latest(events: Iterable[dict[str, Any]], key: str) -> float | None:
    found = [value for event in events if (value := number(event.get(key))) is not None]
    return found[-1] if found else None
