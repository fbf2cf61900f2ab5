"""Run directories as a trainer would leave them, made without training."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

from engine.display import GIB
from engine.run import atomic, lock
from engine.run.events import EventWriter
from engine.run.layout import RunDir, create

CARD = {
    "index": 0, "mig_index": None, "memory_used": int(12.4 * GIB), "memory_total": int(22.9 * GIB),
    "utilization": 97, "temperature": 71, "power_watts": 312.0, "problem": None,
}  # fmt: skip


class MadeRun:
    """A run that this process pretends to be the trainer of.

    Args:
        name: Its name.
        max_steps: How many steps it plans.
        clock: Unix time of its events.
    """

    def __init__(
        self, name: str = "owl", max_steps: int = 400, clock: Callable[[], float] = time.time
    ) -> None:
        self.run: RunDir = create(name)
        self.run.config.write_text("model: {}\n")
        self.max_steps = max_steps
        self.clock = clock
        self.attempt = 1
        self._lock: int | None = None
        self.writer = EventWriter(self.run.events, 1, clock)

    def come_alive(self) -> None:
        """Hold the lock, as supervisor and trainer do."""
        self._lock = lock.acquire(self.run.lock)
        if self._lock is not None:
            os.set_inheritable(self._lock, False)  # programs that a test starts are not the trainer

    def die(self) -> None:
        """Let go of the lock without a word."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        elif self.run.path.exists():
            self.run.lock.touch()

    def end(self, state: str, cause: str) -> None:
        """Leave an obituary and let go of the lock."""
        now = self.clock()
        atomic.write_json(self.run.exit, {"state": state, "cause": cause, "started": now - 60, "ended": now})
        self.die()

    def again(self) -> None:
        """A second attempt, as after a resume."""
        self.writer.close()
        self.attempt += 1
        self.run.exit.unlink(missing_ok=True)
        self.writer = EventWriter(self.run.events, self.attempt, self.clock)

    def begin(self, eval_rows: int = 20) -> None:
        """Everything before the first step."""
        say = self.writer.emit
        say("phase", phase="starting", words="Starting.")
        header = {"model": "owl-1b", "method": "SFT, LoRA", "dataset": "owls.jsonl"}
        say("phase", phase="loading data", words="Reading the dataset.", **header)
        say(
            "phase", phase="data loaded", words="380 rows to learn from.", train_rows=380, eval_rows=eval_rows
        )
        say("phase", phase="loading model", words="Loading the model owl-1b.")

    def train(self) -> None:
        """The loop of steps begins."""
        self.writer.emit(
            "phase", phase="training", words="Training.", step=0, max_steps=self.max_steps, epochs=3
        )

    def step(self, step: int, **fields: Any) -> None:
        """One metric event."""
        values = {
            "loss": 0.7 + 2.0 * math.exp(-step / 60) + 0.03 * math.sin(step * 2.1), "grad_norm": 0.8,
            "learning_rate": 2e-4, "epoch": step / 100, "tokens_per_second": 3100.0 + step % 7,
        }  # fmt: skip
        self.writer.emit("metric", step=step, max_steps=self.max_steps, **(values | fields))

    def steps(self, first: int, last: int) -> None:
        """Metric events from one step to another."""
        for step in range(first, last + 1):
            self.step(step)

    def evaluate(self, step: int, loss: float, best: bool = True) -> None:
        self.writer.emit("evaluation", step=step, max_steps=self.max_steps, eval_loss=loss, best=best)

    def memory(self, *gpus: dict[str, Any], **fields: Any) -> None:
        """A memory sample; without cards as on a machine that has none."""
        ram = {"host_used": 6 * GIB, "host_total": 64 * GIB, "process_rss": 2 * GIB, "num_processes": 1}
        self.writer.emit("memory", gpus=list(gpus), **(ram | fields))

    def finish(self) -> None:
        """The last event of a run that came to its end, and the files it leaves."""
        self.run.adapter.mkdir(exist_ok=True)
        words = "Training is complete."
        self.writer.emit("finished", outcome="completed", step=self.max_steps, path="adapter", words=words)
        self.end("finished", words)
