"""What an evaluation found, as it is saved in the run's folder and shown; without torch and numpy."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from engine.deliver.evaluate.statistics import Interval
from engine.errors import UserError
from engine.run import atomic
from engine.run.layout import RunDir

FOLDER = "evaluations"
VERSION = 1
Outcome = Literal["better", "worse", "none", "identical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Interval):
    """One line of the table: a difference, and of what. `needed` is told only where no difference is shown.

    Attributes:
        name: Such as ``exact_match``, or ``hellaswag/acc``.
        title: For the table.
        unit: ``share``, ``number`` or ``tokens``.
        better: ``up``, ``down`` or nothing.
        verdict: ``better``, ``worse``, ``none``; empty where nothing is better or worse.
    """

    name: str
    title: str
    unit: str
    better: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row; texts are as the models wrote them, not safe for a terminal.

    Attributes:
        number: Among the rows that were measured, from 0.
        question: What was asked.
        expected: The wanted answer; None where the data have none.
        before: Answer of the first model; None where no answers were made.
        after: Answer of the second one.
        before_stopped: It ended by itself.
        after_stopped: It ended by itself.
        changed: The answers differ in at least one token.
        scores: Name of a metric to its numbers before and after; None where the row has none.
    """

    number: int
    question: str
    expected: str | None
    before: str | None
    after: str | None
    before_stopped: bool
    after_stopped: bool
    changed: bool
    scores: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """How far the second model is from the first one.

    Attributes:
        kind: ``identical``, ``hardly`` or ``different``.
        words: In sentences.
        lora_b: Largest number in the B matrices of the adapter; all of them begin at zero. None without adapter.
        weights: Change of the weights relative to their size, the median over the layers; None where unknown.
        answers: Share of changed answers; None where none were made.
        kl: Mean distance of the predictions for the next token, in nats per token; None where unknown.
    """

    kind: str
    words: str
    lora_b: float | None = None
    weights: float | None = None
    answers: float | None = None
    kl: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole evaluation.

    Attributes:
        run: Name of the run.
        objective: What it learnt.
        before: Name of the first model, such as ``base``.
        after: Name of the second one, such as ``result``.
        data: Which rows, in words.
        rows: The rows with their answers and numbers.
        metrics: The table.
        primary: Name of the metric that decides.
        outcome: The verdict.
        words: The verdict in sentences, the first says it all.
        change: How far the models are apart.
        worst: Numbers of rows: by ``metric`` and by ``loss``, the worst first.
        notes: What the user should know.
        settings: How it was measured.
        seconds: How long it took.
        made_at: When, in seconds since 1970.
        v: Version of this form.
    """

    run: str
    objective: str
    before: str
    after: str
    data: str
    rows: list[Row]
    metrics: list[Metric]
    primary: str
    outcome: Outcome
    words: list[str]
    change: Change
    worst: dict[str, list[int]]
    notes: list[str]
    settings: dict[str, Any]
    seconds: float
    made_at: float
    v: int = VERSION

    @property
    def main(self) -> Metric | None:
        """The metric that decides."""
        return next((metric for metric in self.metrics if metric.name == self.primary), None)

    def to_dict(self) -> dict[str, Any]:
        """For files and ``--json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Report:
        """Read what `to_dict` wrote; keys of a later version are left out.

        Raises:
            ValueError: It is something else.
        """
        try:
            plain = _known(cls, found)
            plain["rows"] = [Row(**_known(Row, row)) for row in plain["rows"]]
            plain["metrics"] = [Metric(**_known(Metric, metric)) for metric in plain["metrics"]]
            plain["change"] = Change(**_known(Change, plain["change"]))
            return cls(**plain)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an evaluation: {error}") from error


def save(run: RunDir, report: Report, path: Path | None = None) -> Path:
    """Write it into the run's folder, under a name with its time.

    Args:
        run: The run.
        report: What was found.
        path: Write there instead, such as over an earlier state of the same evaluation.

    Raises:
        UserError: It cannot be written.
    """
    if path is None:
        when = time.strftime("%Y%m%d-%H%M%S", time.localtime(report.made_at))
        path = run.path / FOLDER / f"{when}-{report.after}-vs-{report.before}.json"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        atomic.write_json(path, report.to_dict())
    except OSError as error:
        raise UserError(
            f"The evaluation cannot be saved: {error.strerror}.",
            str(path),
            "Free some space or choose another file: --out FILE",
        ) from error
    return path


def saved(run: RunDir) -> list[Path]:
    """Files of a run's evaluations, the newest first."""
    return sorted((run.path / FOLDER).glob("*.json"), reverse=True)


def newest(run: RunDir) -> Report | None:
    """The newest evaluation of a run that can be read."""
    for path in saved(run):
        try:
            return Report.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return None


def _known(cls: type[Any], found: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: found[one.name] for one in fields(cls) if one.name in found}
