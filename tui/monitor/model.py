"""Everything the monitor knows about a run, from its events, in constant memory."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from engine.display import GIB, printable
from engine.run.events import Event, number
from engine.run.progress import Progress
from tui.monitor.notes import Note, note_of
from tui.monitor.run_clock import RunClock
from tui.plot import Mark, Series

MOST_NOTES = 500
MOST_MARKS = 200
MOST_PROMPTS = 50
SPEED_POINTS = 10  # tokens per second are shown as the mean of this many points


@dataclass(frozen=True, slots=True)
class GpuNow:
    """The newest numbers of one card; None where it does not say. Memory in GiB."""

    label: str
    used: float | None
    total: float | None
    utilization: float | None
    temperature: float | None
    power: float | None
    problem: str


@dataclass(frozen=True, slots=True)
class RamNow:
    """The newest numbers of main memory in GiB."""

    trainer: float | None
    used: float | None
    total: float | None


@dataclass(slots=True)
class Sample:
    """A question and the model's answers to it."""

    prompt: str
    before: str | None = None
    now: str | None = None
    when: str = "now"
    """``after`` training, or the step of the newest answer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why training ended, in the trainer's own words."""

    what: str
    where: str
    fix: str


class MonitorModel:
    """Fed with the events of a run in order. Curves, marks and notes are bounded, however long the run is."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.clock = RunClock()
        self.attempt = 0
        self.last_seq = 0
        self.odd_events = 0
        """Events with fields that made no sense; they are left out."""
        self.model = self.method = self.dataset = ""
        self.eval_rows: int | None = None
        self.phase_since: float | None = None
        self.last_metric: float | None = None

        self.loss = Series("train")
        self.eval_loss = Series("eval")
        self.learning_rate = Series("learning rate")
        self.grad_norm = Series("gradient norm")
        self.tokens_per_second = Series("tokens per second")
        self.gpu_used = Series("used")
        self.torch_reserved = Series("reserved")
        self.torch_allocated = Series("in tensors")
        self.trainer_ram = Series("trainer")
        self.machine_ram = Series("all")

        self.first_loss: float | None = None
        self.first_eval: float | None = None
        self.best_eval: float | None = None
        self.best_step: float | None = None
        self.epoch: float | None = None
        self.checkpoints: deque[float] = deque(maxlen=MOST_MARKS)
        self.changes: deque[float] = deque(maxlen=MOST_MARKS)
        self.notes: deque[Note] = deque(maxlen=MOST_NOTES)
        self.samples: dict[str, Sample] = {}
        self.gpus: tuple[GpuNow, ...] | None = None
        self.ram: RamNow | None = None
        self.failure: Failure | None = None
        self.finished: Event | None = None
        self._speeds: deque[float] = deque(maxlen=SPEED_POINTS)

    # What is asked most

    @property
    def training(self) -> bool:
        """The loop of training steps has been reached in the newest attempt."""
        return self.progress.training_since is not None

    @property
    def speed(self) -> float | None:
        """Tokens per second, over the last points."""
        return sum(self._speeds) / len(self._speeds) if self._speeds else None

    @property
    def gpu_limit(self) -> float | None:
        """Memory in GiB of the card that is fullest; None without a card that tells."""
        card = fullest(self.gpus or ())
        return card.total if card else None

    def marks(self) -> tuple[Mark, ...]:
        """What happened along the curve of the loss."""
        best = () if self.best_step is None else (Mark(self.best_step, "best", self.best_eval),)
        return (
            *best,
            *(Mark(step, "checkpoint") for step in self.checkpoints),
            *(Mark(step, "change") for step in self.changes),
        )

    # Events

    def feed(self, event: Event) -> None:
        """Take one event as it stands in the file. Never raises: the file may hold anything."""
        try:
            self._feed(event)
        except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError):
            self.odd_events += 1

    def _feed(self, event: Event) -> None:
        kind = event["kind"]
        t = finite(event.get("t")) or self.clock.last or 0.0
        self._note_attempt(event)
        seconds = self.clock.feed(t, self.attempt)
        self.last_seq = int(finite(event.get("seq")) or self.last_seq)
        if kind == "metric":
            self._metric(event, t)
        elif kind == "memory":
            self._memory(event, seconds)
        elif kind == "phase":
            self._phase(event, t)
        elif kind == "evaluation":
            self._evaluation(event)
        elif kind == "sample":
            self._sample(event)
        elif kind == "checkpoint" and (step := finite(event.get("step"))) is not None:
            self.checkpoints.append(step)
        elif kind == "change" and not event.get("request"):
            self.changes.append(finite(event.get("step")) or float(self.progress.step))
        elif kind == "failure":
            self.failure = Failure(
                *(printable(event.get(key) or "", 1000) for key in ("what", "where", "fix"))
            )
        elif kind == "finished":
            self.finished = event
        note = note_of(event, t)
        if note is not None:
            self.notes.append(note)
        # Last, because it takes the fields as they are: what makes no sense to it must not lose the rest.
        self.progress.feed(event)

    def _note_attempt(self, event: Event) -> None:
        attempt = int(finite(event.get("attempt")) or self.attempt)
        if attempt > self.attempt:
            self.attempt = attempt
            self.failure = self.finished = None
            self.progress.training_since = None
            self._speeds.clear()

    def _phase(self, event: Event, t: float) -> None:
        self.phase_since = t
        for key in ("model", "method", "dataset"):
            if event.get(key):
                setattr(self, key, printable(event[key], 100))
        if (rows := finite(event.get("eval_rows"))) is not None:
            self.eval_rows = int(rows)
        if (step := finite(event.get("resumed_from"))) is not None:
            self._forget_after(step)

    def _metric(self, event: Event, t: float) -> None:
        self.last_metric = t
        earlier = event.get("earlier")
        for point in (*(earlier if isinstance(earlier, list) else ()), event):
            if not isinstance(point, dict) or (step := finite(point.get("step"))) is None:
                continue
            if self.loss.last_x is not None and step < self.loss.last_x:
                # An attempt without a checkpoint to go on from starts again at the first step.
                self._forget_after(step - 0.5)
            for key, series in self._by_step():
                if (value := number(point.get(key))) is not None:
                    series.append(step, value)
            if self.first_loss is None:
                self.first_loss = finite(point.get("loss"))
            if (speed := finite(point.get("tokens_per_second"))) is not None:
                self._speeds.append(speed)
        self.epoch = finite(event.get("epoch"))

    def _by_step(self) -> tuple[tuple[str, Series], ...]:
        return (
            ("loss", self.loss),
            ("learning_rate", self.learning_rate),
            ("grad_norm", self.grad_norm),
            ("tokens_per_second", self.tokens_per_second),
        )

    def _evaluation(self, event: Event) -> None:
        step, value = finite(event.get("step")), number(event.get("eval_loss"))
        if step is None or value is None:
            return
        if self.eval_loss.last_x is not None and step < self.eval_loss.last_x:
            self._forget_after(step - 0.5)
        self.eval_loss.append(step, value)
        if not math.isfinite(value):
            return
        if self.first_eval is None:
            self.first_eval = value
        if self.best_eval is None or value < self.best_eval:
            self.best_eval, self.best_step = value, step

    def _forget_after(self, step: float) -> None:
        """These steps are trained again, with the same result."""
        for series in (self.eval_loss, *(series for _, series in self._by_step())):
            series.truncate_after(step)
        for marks in (self.checkpoints, self.changes):
            while marks and marks[-1] > step:
                marks.pop()
        if self.best_step is not None and self.best_step > step:
            kept = [bucket for bucket in self.eval_loss.window() if bucket.n]
            best = min(kept, key=lambda bucket: bucket.low, default=None)
            self.best_eval, self.best_step = (best.low, best.x0) if best else (None, None)

    def _sample(self, event: Event) -> None:
        prompt = printable(event.get("prompt") or "", 500, newlines=True)
        if prompt not in self.samples and len(self.samples) >= MOST_PROMPTS:
            return
        sample = self.samples.setdefault(prompt, Sample(prompt))
        text = printable(event.get("text") or "", newlines=True)
        if event.get("stopped") is False:
            text += " [cut off at the length limit]"
        if event.get("when") == "before":
            sample.before = text
        else:
            step = int(finite(event.get("step")) or 0)
            if sample.before is None and event.get("base_text") is not None:
                sample.before = printable(event["base_text"], newlines=True)
            sample.now, sample.when = text, "after" if event.get("when") == "after" else f"step {step}"

    def _memory(self, event: Event, seconds: float) -> None:
        gpus = event.get("gpus")
        self.gpus = tuple(
            _gpu(gpu, number) for number, gpu in enumerate(gpus if isinstance(gpus, list) else ())
        )
        self.ram = RamNow(
            _gib(event.get("process_rss")), _gib(event.get("host_used")), _gib(event.get("host_total"))
        )
        card = fullest(self.gpus)
        for series, value in (
            (self.gpu_used, card.used if card else None),
            (self.torch_reserved, _gib(event.get("torch_reserved"))),
            (self.torch_allocated, _gib(event.get("torch_allocated"))),
            (self.trainer_ram, self.ram.trainer),
            (self.machine_ram, self.ram.used),
        ):
            if value is not None:
                series.append(seconds, value)


def fullest(gpus: tuple[GpuNow, ...]) -> GpuNow | None:
    """The card with the largest share of its memory in use: the one that runs out first."""
    telling = [gpu for gpu in gpus if gpu.used is not None and gpu.total and not gpu.problem]
    return max(telling, key=lambda gpu: (gpu.used or 0.0) / (gpu.total or 1.0), default=None)


def finite(value: Any) -> float | None:
    """The finite number that an event field holds, or None."""
    found = number(value)
    return found if found is not None and math.isfinite(found) else None


def _gib(value: Any) -> float | None:
    found = finite(value)
    return found / GIB if found is not None else None


def _gpu(gpu: Any, position: int) -> GpuNow:
    if not isinstance(gpu, dict):
        gpu = {"problem": "it cannot be read"}
    index = finite(gpu.get("index"))
    label = f"GPU {position if index is None else index:.0f}"
    if (slice_index := finite(gpu.get("mig_index"))) is not None:
        label += f" slice {slice_index:.0f}"
    total = _gib(gpu.get("memory_total")) or None
    return GpuNow(
        label=label,
        used=_gib(gpu.get("memory_used")) if total else None,
        total=total,
        utilization=finite(gpu.get("utilization")),
        temperature=finite(gpu.get("temperature")),
        power=finite(gpu.get("power_watts")),
        problem=printable(gpu.get("problem") or "", 200),
    )
