"""Everything the monitor knows about a run, from its events, in constant memory."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from engine.display import GIB, printable
from engine.run.events import Event, number
from engine.run.progress import Progress
from tui.monitor.hardware import Hardware
from tui.monitor.notes import Note, note_of
from tui.monitor.objective import ObjectiveMetrics
from tui.monitor.run_clock import RunClock
from tui.monitor.values import finite
from tui.plot import Mark, Series

MOST_NOTES = 500
MOST_MARKS = 200
MOST_PROMPTS = 50
MOST_ANSWERS = 40  # of each prompt; of more, every second one is kept
SPEED_POINTS = 10  # tokens per second are shown as the mean of this many points


@dataclass(slots=True)
class Sample:
    """A question and the model's answers to it."""

    prompt: str
    before: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    """Since training began: ``step 20`` ..., ``after``."""


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
        self.seconds_at = Series("seconds of work")
        """Of each step, so that a moment can be found in the curves over time, too."""
        self.clock_at = Series("Unix time")
        """Of each step."""
        self.metrics = ObjectiveMetrics()
        self.hardware = Hardware()

        self.first_loss: float | None = None
        self.first_eval: float | None = None
        self.best_eval: float | None = None
        self.best_step: float | None = None
        self.best_mark: tuple[float, float] | None = None
        """Step and held-out loss of the evaluation that the trainer called the best; not always the lowest loss."""
        self.epoch: float | None = None
        self.checkpoints: deque[float] = deque(maxlen=MOST_MARKS)
        self.changes: deque[float] = deque(maxlen=MOST_MARKS)
        self.notes: deque[Note] = deque(maxlen=MOST_NOTES)
        self.samples: dict[str, Sample] = {}
        self.predicted: tuple[float, float] | None = None
        """Memory in PyTorch's tensors in GiB, expected and at most, as the trainer worked it out when it tried the longest rows."""
        self.num_tokens: float | None = None
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
    def objective(self) -> str:
        """Its name in run.yaml, from the header; empty before that."""
        return self.method.partition(",")[0].strip().lower()

    def answer_times(self) -> list[str]:
        """When questions were asked since training began, in order: ``step 20`` ..., ``after``."""
        times = dict.fromkeys(when for sample in self.samples.values() for when in sample.answers)
        return sorted(times, key=lambda when: when == "after")

    def marks(self) -> tuple[Mark, ...]:
        """What happened along the curve of the loss."""
        best = self.best_mark
        if best is None and self.best_step is not None and self.best_eval is not None:
            best = self.best_step, self.best_eval
        return (
            *(() if best is None else (Mark(best[0], "best", best[1]),)),
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
            self._metric(event, t, seconds)
        elif kind == "memory":
            self.hardware.feed(event, seconds)
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
        middle, most = finite(event.get("predicted_p50")), finite(event.get("predicted_p95"))
        if middle and most:
            self.predicted = middle / GIB, most / GIB
        if (step := finite(event.get("resumed_from"))) is not None:
            self._forget_after(step)

    def _metric(self, event: Event, t: float, seconds: float) -> None:
        self.last_metric = t
        earlier = event.get("earlier")
        points = (*(earlier if isinstance(earlier, list) else ()), event)
        before = self.seconds_at.last
        for place, point in enumerate(points, 1):
            if not isinstance(point, dict) or (step := finite(point.get("step"))) is None:
                continue
            if self.loss.last_x is not None and step < self.loss.last_x:
                # An attempt without a checkpoint to go on from starts again at the first step.
                self._forget_after(step - 0.5)
            # Points that share a line were made one after the other since the line before.
            share = place / len(points)
            self.seconds_at.append(step, seconds if before is None else before + share * (seconds - before))
            self.clock_at.append(step, t)
            for key, series in self._by_step():
                if (value := number(point.get(key))) is not None:
                    series.append(step, value)
            self.metrics.feed(step, point)
            if self.first_loss is None:
                self.first_loss = finite(point.get("loss"))
            if (speed := finite(point.get("tokens_per_second"))) is not None:
                self._speeds.append(speed)
        self.epoch = finite(event.get("epoch"))
        self.num_tokens = finite(event.get("num_tokens"))

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
        self.metrics.feed(step, event, evaluated=True)
        if event.get("best") is True:
            self.best_mark = (step, value)
        if not math.isfinite(value):
            return
        if self.first_eval is None:
            self.first_eval = value
        if self.best_eval is None or value < self.best_eval:
            self.best_eval, self.best_step = value, step

    def _forget_after(self, step: float) -> None:
        """These steps are trained again, with the same result."""
        curves = (self.eval_loss, self.seconds_at, self.clock_at, *(series for _, series in self._by_step()))
        for series in curves:
            series.truncate_after(step)
        self.metrics.truncate_after(step)
        for marks in (self.checkpoints, self.changes):
            while marks and marks[-1] > step:
                marks.pop()
        if self.best_step is not None and self.best_step > step:
            kept = [bucket for bucket in self.eval_loss.window() if bucket.n]
            best = min(kept, key=lambda bucket: bucket.low, default=None)
            self.best_eval, self.best_step = (best.low, best.x0) if best else (None, None)
        if self.best_mark is not None and self.best_mark[0] > step:
            self.best_mark = None

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
            when = "after" if event.get("when") == "after" else f"step {step}"
            sample.answers[when] = text
            if len(sample.answers) > MOST_ANSWERS:
                for old in list(sample.answers)[-2::-2]:
                    del sample.answers[old]
