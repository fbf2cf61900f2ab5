"""A process that plays a trainer: it holds the run's lock and logs ten steps a second, or nothing at all.

`python -m tests.bench._pour SECONDS [--idle]`, with FINETUI_HOME in the environment; it prints a line when the history is
written.
"""

from __future__ import annotations

import argparse
import math
import random
import time

from engine.display import GIB
from tests.tui.made_runs import CARD, MadeRun

NAME = "owl"
PER_SECOND = 10
HISTORY = 2000  # steps before anybody looks
MAX_STEPS = 4000
HEARTBEAT = 10.0  # seconds, as the trainer's
MEMORY = 2.0


class Trainer:
    """Writes the events of a run as the real one does: through the event writer, which merges fast steps."""

    def __init__(self) -> None:
        self._now = time.time() - HISTORY / PER_SECOND
        self.made = MadeRun(NAME, MAX_STEPS, clock=lambda: self._now)
        self.made.come_alive()
        self.made.begin()
        self.made.train()
        self._noise = random.Random(7)
        for step in range(1, HISTORY + 1):
            self._now += 1 / PER_SECOND
            self.made.writer.emit("metric", **self._point(step))
            self._besides(step)

    def _point(self, step: int) -> dict[str, float]:
        jitter = self._noise.gauss(0, 1)
        return {
            "step": step, "max_steps": MAX_STEPS, "epoch": round(step / 900, 3),
            "loss": round(0.8 + 1.7 * math.exp(-step / 400) + 0.06 * jitter, 4),
            "grad_norm": round(1 + 0.2 * abs(jitter), 4), "learning_rate": 2e-4 * (1 - step / MAX_STEPS),
            "tokens_per_second": round(3000 + 60 * jitter, 1), "num_tokens": 2048 * step,
        }  # fmt: skip

    def _besides(self, step: int) -> None:
        if step % int(MEMORY * PER_SECOND) == 0:
            held = 11.2 + 0.4 * self._noise.random()
            card = {
                **CARD,
                "memory_used": int((held + 1.3) * GIB),
                "utilization": 90 + step % 9,
                "power_watts": 300.0 + step % 31,
            }
            self.made.memory(card, torch_allocated=int(held * GIB), torch_reserved=int(12 * GIB))
        if step % 50 == 0:
            self.made.evaluate(step, round(0.9 + 1.7 * math.exp(-step / 400), 4))
        if step % 100 == 0:
            self.made.writer.emit("checkpoint", step=step, path=f"checkpoints/step-{step}")
        if step % 200 == 0:
            self.made.writer.emit("warning", words=f"A row of step {step} was cut at max_length.", step=step)

    def pour(self, seconds: float, idle: bool) -> None:
        """Ten steps a second, or only the heartbeat that says it lives."""
        started = time.monotonic()
        step, beat = HISTORY, started
        while (now := time.monotonic()) < started + seconds:
            self._now = time.time()
            if now - beat >= HEARTBEAT:
                beat = now
                self.made.writer.emit("heartbeat", phase="training")
            if not idle and step < MAX_STEPS:
                step += 1
                self.made.writer.metric(**self._point(step))
                self._besides(step)
            time.sleep(max(0.0, started + (step - HISTORY + 1) / PER_SECOND - now) if not idle else 0.2)
        self.made.die()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--idle", action="store_true")
    given = parser.parse_args()
    trainer = Trainer()
    print("ready", flush=True)
    trainer.pour(given.seconds, given.idle)


if __name__ == "__main__":
    main()
