"""An evaluation for programs that must not load torch: worker processes do the work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.deliver.evaluate import kinds, report, tasks
from engine.deliver.evaluate.judge import check_url
from engine.deliver.evaluate.own_function import SECONDS
from engine.deliver.evaluate.report import Metric, Report
from engine.deliver.evaluate.verdict import decide
from engine.deliver.protocol import Message, Worker
from engine.deliver.room import Device, Place
from engine.deliver.source import BASE, RESULT, find_trained
from engine.deliver.talk import chosen, place_of
from engine.display import duration, printable
from engine.errors import UserError
from engine.run.launch import require_training_packages
from engine.run.layout import RunDir


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured, and how.

    Attributes:
        which: The model after; see `find_trained`.
        against: The model before.
        metrics: Names; none for those that fit.
        data: A dataset to take instead of the rows that were held out.
        limit: Most rows; 0 for all.
        function: A Python file with ``score(prompt, answer, reference)``.
        function_seconds: Longest time it may take for one answer.
        judge: Address of an OpenAI-compatible endpoint.
        judge_model: Name of the model there.
        tasks: Benchmarks of lm-eval.
        task_limit: Most documents of each; 0 for all.
        max_new_tokens: Longest answer; None for what the data call for.
        device: Where the models are held.
    """

    which: str | None = None
    against: str | None = None
    metrics: Sequence[str] = ()
    data: Path | None = None
    limit: int = kinds.LIMIT
    function: Path | None = None
    function_seconds: float = SECONDS
    judge: str | None = None
    judge_model: str | None = None
    tasks: Sequence[str] = ()
    task_limit: int = 0
    max_new_tokens: int | None = None
    device: Device = "auto"


@dataclass(frozen=True, slots=True)
class Started:
    """The models are loaded.

    Attributes:
        before: Name of the first model.
        after: Name of the second one.
        words: What both are.
        data: Which rows, in words.
        rows: How many.
    """

    before: str
    after: str
    words: tuple[str, str]
    data: str
    rows: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        words: What is done at the moment.
        done: How much of it.
        total: Out of so much; 0 where that is unknown.
        left: Seconds this part still takes, if known.
    """

    words: str
    done: int
    total: int
    left: float | None

    def line(self) -> str:
        """For people."""
        count = f": {self.done:,} of {self.total:,}" if self.total else " ..."
        left = f", about {duration(self.left)} left" if self.left else ""
        return f"{self.words[:1].upper()}{self.words[1:]}{count}{left}"


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know."""

    words: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end.

    Attributes:
        report: What was found.
        path: Where it is saved; None where that could not be done.
    """

    report: Report
    path: Path | None


Came = Started | Progress | Note | Finished


class Evaluate:
    """An evaluation in its worker process.

    Args:
        run: The run.
        wanted: What is measured.
    """

    def __init__(self, run: RunDir, wanted: Wanted | None = None) -> None:
        self.run, self.wanted = run, wanted or Wanted()
        self._worker: Worker | None = None
        self._closed = False

    def check(self) -> list[str | None]:
        """What can be refused before anything is loaded; names of both models, the one before None where there is none.

        Raises:
            UserError: The models are not there, or an option is wrong.
        """
        wanted = self.wanted
        kinds.check(wanted.metrics)
        if wanted.judge is not None:
            check_url(wanted.judge)
            if not wanted.judge_model:
                raise UserError(
                    "Which model is the judge?",
                    f"--judge {printable(wanted.judge, 100)}",
                    "Name it: --judge_model NAME",
                )
        if wanted.tasks:
            tasks.require()
        after = find_trained(self.run, wanted.which)
        scores_only = after.kind == "score"
        if scores_only and (wanted.judge or wanted.function or wanted.tasks):
            raise UserError(
                "A reward model writes no answers, so there is nothing to judge.",
                self.run.name,
                "Leave out --function, --judge and --tasks.",
            )
        if scores_only and wanted.against in (None, BASE):
            return [None, after.name]
        against = wanted.against or (RESULT if after.is_base else BASE)
        before = chosen(self.run, [after.name, against])[1]
        return [before.name, after.name]

    def results(self) -> Iterator[Came]:
        """Start, and what comes; the last one is `Finished`. Ends early after `close`.

        Raises:
            UserError: It cannot be measured.
        """
        require_training_packages()
        names = self.check()
        found = [find_trained(self.run, name) for name in names if name is not None]
        place = place_of(found, self.wanted.device)
        made: Finished | None = None
        try:
            for message in self._messages("engine.deliver.eval_worker", self._options(names), place):
                if message["kind"] == "report":
                    made = self._save(Report.from_dict(message["report"]), None)
                elif (came := _came(message)) is not None:
                    yield came
            if made is not None and self.wanted.tasks and not self._closed:
                yield from self._tasks(names, place, made)
            elif made is not None:
                yield made
        except (UserError, ValueError):
            if not self._closed:
                raise

    def close(self) -> None:
        """End it; may be called from any thread."""
        self._closed = True
        if self._worker is not None:
            self._worker.close()

    def _options(self, names: Sequence[str | None]) -> dict[str, Any]:
        wanted = self.wanted
        judge = {"url": wanted.judge, "model": wanted.judge_model} if wanted.judge else None
        return {
            "sides": list(names), "metrics": list(wanted.metrics), "data": _path(wanted.data), "limit": wanted.limit,
            "function": _path(wanted.function), "function_seconds": wanted.function_seconds, "judge": judge,
            "tasks": list(wanted.tasks), "max_new_tokens": wanted.max_new_tokens,
        }  # fmt: skip

    def _messages(self, module: str, options: dict[str, Any], place: Place) -> Iterator[Message]:
        if self._closed:
            return
        self._worker = worker = Worker(module, self.run, json.dumps(options), env=place.env)
        if self._closed:  # meanwhile
            worker.close()
        try:
            yield from worker.messages()
        finally:
            worker.close()

    def _tasks(self, names: Sequence[str | None], place: Place, made: Finished) -> Iterator[Came]:
        """What is measured already is kept, whatever becomes of the benchmarks."""
        options = {"sides": list(names), "tasks": list(self.wanted.tasks), "limit": self.wanted.task_limit}
        metrics: list[Metric] = []
        notes: list[str] = []
        try:
            for message in self._messages("engine.deliver.evaluate.lm_worker", options, place):
                if message["kind"] == "tasks":
                    metrics = [Metric(**metric) for metric in message["metrics"]]
                elif (came := _came(message)) is not None:
                    yield came
        except UserError as error:
            if self._closed:
                return
            notes = [f"The benchmarks are left out: {error.what} ({error.where}) {error.fix}"]
        if self._closed:
            return
        told = made.report
        metrics = [*told.metrics, *metrics]
        outcome, words = decide(metrics, told.primary, told.change)
        merged = replace(told, metrics=metrics, outcome=outcome, words=words, notes=[*told.notes, *notes])
        yield self._save(merged, made.path)

    def _save(self, told: Report, path: Path | None) -> Finished:
        try:
            return Finished(told, report.save(self.run, told, path))
        except UserError as error:  # hours of measuring are not thrown away for that
            return Finished(replace(told, notes=[*told.notes, str(error)]), None)


def _came(message: Message) -> Came | None:
    if message["kind"] == "ready":
        old, new = message["before"], message["after"]
        return Started(
            old["name"], new["name"], (old["words"], new["words"]), message["data"], message["rows"]
        )
    if message["kind"] == "progress":
        return Progress(message["words"], message["done"], message["total"], message["left"])
    return Note(message["words"]) if message["kind"] == "note" else None


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser().absolute())
