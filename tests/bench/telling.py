"""What telling costs a training: events, log lines and samples of memory, on against off, in one run.

`python -m tests.bench.telling [--pairs 12] [--steps 25]` trains the demo model once. Blocks of steps in which the recorder
works take turns with blocks in which it does nothing, in the order on, off, off, on, so that whatever drifts drifts for both.
It prints one JSON line: the time with telling divided by the time without, for the wall clock and for the processor, as
medians with their quartiles; and the share of the processor's time that telling took, counted where it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WARM_UP = 10  # steps that do not count
ROWS_A_STEP = 8


class Switched:
    """Turns a recorder off and on between blocks of steps, and takes the time of each block.

    Args:
        steps: Steps of a block.
    """

    def __init__(self, steps: int) -> None:
        self.telling = True
        self.blocks: list[tuple[bool, float, float]] = []
        self.spent = 0.0
        """Seconds of the processor spent on telling, in whatever thread."""
        self._steps = steps
        self._step = 0
        self._began = (0.0, 0.0)

    @contextmanager
    def taking_time(self) -> Iterator[None]:
        """Count what is done inside as telling."""
        began = time.thread_time()
        yield
        if self._step >= WARM_UP:
            self.spent += time.thread_time() - began

    def step(self) -> None:
        """A step has ended."""
        self._step += 1
        if self._step < WARM_UP or (self._step - WARM_UP) % self._steps:
            return
        now = time.perf_counter(), time.process_time()
        if self._step > WARM_UP:
            self.blocks.append((self.telling, now[0] - self._began[0], now[1] - self._began[1]))
        # On, off, off, on, on, off, off, on ...
        self.telling = len(self.blocks) % 4 in (0, 3)
        self._began = time.perf_counter(), time.process_time()


def train(place: Path, pairs: int, steps: int) -> Switched:
    """One training of the demo model on chats of equal length, with the recorder switched on and off."""
    os.environ["FINETUI_HOME"] = str(place / "home")
    from engine.config.draft import DEMO, lay_out, prepare
    from engine.config.schema import RunConfig
    from engine.machine.probe import Sampler, probe
    from engine.run import lock
    from engine.train.job import train as work
    from engine.train.recorder import Recorder

    max_steps = WARM_UP + 2 * pairs * steps + 1
    chat = json.loads((DEMO / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    data = place / "train.jsonl"
    data.write_text((json.dumps(chat) + "\n") * ROWS_A_STEP * max_steps, encoding="utf-8")
    wanted: dict[str, Any] = {
        "model": {"model_name_or_path": str(DEMO), "dtype": "float32"},
        "data": {"train": [{"path": str(data)}], "eval_fraction": 0.0},
        "training": {
            "max_length": 256, "per_device_train_batch_size": ROWS_A_STEP, "gradient_accumulation_steps": 1,
            "num_train_epochs": 1, "learning_rate": 1e-4, "seed": 1,
        },
        "watch": {"save_steps": max_steps},
    }  # fmt: skip
    run = lay_out(prepare(RunConfig.model_validate(wanted), probe(), "telling"))
    switched = Switched(steps)
    sample = Sampler.sample
    last: list[Any] = []

    def sampled(self: Sampler) -> Any:
        if switched.telling or not last:
            with switched.taking_time():
                last[:] = [sample(self)]
        return last[0]

    class Silenced(Recorder):
        """A recorder that says nothing while it is switched off."""

        def emit(self, kind: str, **fields: Any) -> None:
            if switched.telling:
                with switched.taking_time():
                    super().emit(kind, **fields)

        def metric(self, **fields: Any) -> None:
            if switched.telling:
                with switched.taking_time():
                    super().metric(**fields)
            switched.step()

        def say(self, line: str) -> None:
            if switched.telling:
                with switched.taking_time():
                    super().say(line)

    held = lock.acquire(run.lock)
    Sampler.sample = sampled  # type: ignore[method-assign]
    recorder = Silenced(run)
    recorder.start()
    try:
        work(run, recorder, lambda: len(switched.blocks) >= 2 * pairs)
    finally:
        Sampler.sample = sample  # type: ignore[method-assign]
        recorder.close()
        if held is not None:
            os.close(held)
    return switched


def ratios(blocks: list[tuple[bool, float, float]], which: int) -> list[float]:
    """Time with telling over time without, pair by pair; ``which`` is 1 for the wall clock, 2 for the processor."""
    found = []
    for first, second in zip(blocks[0::2], blocks[1::2], strict=False):
        on, off = (first, second) if first[0] else (second, first)
        found.append(on[which] / off[which])
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 4), "quartile_low": round(low, 4), "quartile_high": round(high, 4)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=25, help="steps of a block")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # The trainer's own lines belong to its log, not among the figures.
    shown, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory(prefix="finetui-telling-") as folder:
        switched = train(Path(folder), given.pairs, given.steps)
    sys.stdout = shown
    blocks = switched.blocks[: 2 * given.pairs]
    line = {
        "bench": "telling",
        "pairs": len(blocks) // 2,
        "steps_a_block": given.steps,
        "seconds_a_block": round(statistics.median(block[1] for block in blocks), 2),
        "wall": spread(ratios(blocks, 1)),
        "processor": spread(ratios(blocks, 2)),
        "spent_on_telling": round(switched.spent / sum(block[2] for block in blocks if block[0]), 5),
        "wanted": 1.01,
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
