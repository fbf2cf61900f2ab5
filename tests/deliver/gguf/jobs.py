"""Export jobs without a training before them, and a listener that remembers what was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.config.draft import DEMO_RECIPE
from engine.config.loading import load
from engine.deliver.export.job import Cancelled, Job
from engine.deliver.source import Trained
from engine.run.layout import RunDir


class Listener:
    """Remembers what a target tells; `stop` makes it cancel."""

    def __init__(self, stop: Callable[[], bool] = lambda: False) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []
        self.bytes: list[tuple[int, int]] = []
        self._stop = stop

    def step(self, words: str) -> None:
        self.steps.append(words)
        self.check()

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        self.bytes.append((done_bytes, total_bytes))
        self.check()

    def say(self, words: str) -> None:
        self.notes.append(words)
        self.check()

    def check(self) -> None:
        if self._stop():
            raise Cancelled


def whole_model_job(
    model: Path, target: str = "gguf", quants: tuple[str, ...] = (), run_name: str = "owl", **options: str
) -> Job:
    """The export of a model folder as if a run had trained all its weights."""
    run = RunDir(model.parent / run_name)
    run.path.mkdir(exist_ok=True)
    run.exports.mkdir(exist_ok=True)
    config = load(DEMO_RECIPE)
    method = config.method.model_copy(update={"tuning": "full"})
    settings = config.model.model_copy(update={"model_name_or_path": str(model)})
    config = config.model_copy(update={"method": method, "model": settings})
    return Job(run, Trained(config, model, False, f"the result of {run_name}"), target, quants, None, options)
