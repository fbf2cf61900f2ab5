"""Check datasets: the one call behind ``finetui data check`` and the Data screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.choice import Choice
from engine.data.check.advice import recommend_epochs, recommend_max_length, recommend_packing
from engine.data.check.findings import KINDS, Findings
from engine.data.check.fingerprints import FingerprintLog
from engine.data.check.fix_file import refuse_existing, write_fixed
from engine.data.check.histogram import Histogram
from engine.data.check.opening import Opened, open_dataset
from engine.data.check.report import SEVERITIES, Problem, Report
from engine.data.check.rows import Limits
from engine.data.check.sampling import all_forms, sample
from engine.data.check.scan import Tell, in_file, scan
from engine.data.check.tokens import (
    ROUGH_BYTES_PER_TOKEN,
    TokenCounter,
    TokenStats,
    measure_all,
    measure_sample,
    rough,
)
from engine.data.forms import Objective
from engine.data.sources import Spec
from engine.display import printable
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.data.render import Renderer

_EXACT, _NEAR, _QUESTION = 1, 2, 3  # columns of the log
_MOST_REMEMBERED = (
    2_000_000  # repeated rows told apart from nearly repeated ones, so that memory stays bounded
)


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """What to check.

    Attributes:
        paths: Files, folders or Hub datasets; a `Spec` says how one is to be read.
        model: Folder or Hub id of the model whose tokenizer counts; None for a rough estimate.
        evaluation: Evaluation data to compare with.
        objective: What the data are wanted for; None for what suits them most.
        max_length: Limit of a row in tokens.
        fix: Where to write a repaired copy.
        exact: Count the tokens of all rows, not of a sample.
        chat_template: As in run.yaml.
        processes: How many processes to use; up to four by default.
    """

    paths: tuple[str | Spec, ...]
    model: str | None = None
    evaluation: str | None = None
    objective: Objective | None = None
    max_length: int | None = None
    fix: str | None = None
    exact: bool = False
    chat_template: str = "model"
    processes: int | None = None


def check(request: CheckRequest, tell: Tell = lambda share, words: None) -> Report:
    """Check datasets in one pass.

    Args:
        request: What to check.
        tell: Told the share of the present work that is done, and what goes on.

    Raises:
        UserError: A dataset cannot be opened, suits no or another objective, or a repaired copy cannot be written.
    """
    began = time.monotonic()
    if request.fix is not None:
        if len(request.paths) > 1:
            raise UserError("--fix repairs one dataset at a time.", "--fix", "Give one path.")
        refuse_existing(Path(request.fix).expanduser())
    report = Report()
    renderer, context = model_of(request)
    opened = [open_dataset(path, request.objective) for path in request.paths]
    _describe(report, opened, request.objective)
    stats = sample_stats(opened, renderer, request.max_length) if renderer else None
    findings: list[tuple[Opened, Findings]] = []
    sizes = Histogram()
    with FingerprintLog() as log:
        for number, source in enumerate(opened):
            found = _check_one(number, source, request, renderer, stats, log, report, sizes, tell)
            findings.append((source, found))
        _compare(opened, [found for _, found in findings], log, request, report, tell)
    if stats is None:
        stats = rough(sizes, request.max_length)
    elif request.exact:
        stats = _exact(opened, renderer, request.max_length, findings, report, tell)
    _problems(report, findings)
    if report.usable:
        _advise(report, stats, request, context)
    report.tokens = stats.as_json(report.usable)
    if request.fix is not None:
        fresh = open_dataset(request.paths[0], request.objective)
        report.fixed = write_fixed(fresh, Path(request.fix).expanduser(), tell)
    report.seconds = time.monotonic() - began
    return report


def stats(request: CheckRequest, tell: Tell = lambda share, words: None) -> tuple[TokenStats, Report]:
    """Token lengths alone: on a sample in about a second, or of all rows with ``exact``.

    Returns:
        The lengths, and a report with the format, the recommended settings and the lengths in JSON form. Its ``rows`` and
        ``usable`` are what was measured.

    Raises:
        UserError: As `check`.
    """
    began = time.monotonic()
    report = Report()
    renderer, context = model_of(request)
    opened = [open_dataset(path, request.objective) for path in request.paths]
    _describe(report, opened, request.objective)
    if renderer is None:
        raise UserError("Counting tokens needs a model.", "--model", "Name the one you want to train.")
    if request.exact:
        found = _exact(opened, renderer, request.max_length, [], report, tell)
    else:
        found = sample_stats(opened, renderer, request.max_length)
    report.rows = report.usable = found.rows
    if found.rows:
        _advise(report, found, request, context, epochs=found.how == "all rows")
    report.tokens = found.as_json(found.rows)
    report.notes += [note for source in opened for note in source.source.progress.notes]
    report.seconds = time.monotonic() - began
    return found, report


def model_of(request: CheckRequest) -> tuple[Renderer | None, int | None]:
    """The model's tokenizer and template, and the longest text it takes.

    Raises:
        UserError: The model is not there, or its tokenizer is not on this machine.
    """
    if request.model is None:
        return None, None
    from engine.data.render import Renderer
    from engine.models.folder import inspect_model

    plain = Path(request.model)
    if (plain / "tokenizer.json").is_file() and not (plain / "config.json").is_file():
        return Renderer(plain, request.chat_template, request.model), None  # a tokenizer alone can count
    facts = inspect_model(request.model)
    folder = facts.folder or _fetched(request.model)
    if not (folder / "tokenizer.json").is_file():
        raise UserError(
            "The model's tokenizer is not on this machine.",
            printable(request.model, 200),
            "Download the model first, or leave out --model for a rough estimate.",
        )
    return Renderer(folder, request.chat_template, request.model), facts.context


def _fetched(model: str) -> Path:
    """A Hub model's tokenizer and template, from the cache or a few megabytes from the Hub.

    Raises:
        UserError: It cannot be had.
    """
    from engine.hub.download import tokenizer_files

    try:
        return tokenizer_files(model)
    except UserError as error:
        raise UserError(
            error.what, error.where, f"{error.fix} Or leave out --model: a rough estimate."
        ) from None


def sample_stats(opened: Sequence[Opened], renderer: Renderer, max_length: int | None) -> TokenStats:
    """Token lengths of samples of all sources together."""
    from engine.data.check.sampling import Sampled

    samples = [sample(source) for source in opened]
    how = next(
        (how for how in ("first rows", "sample") if any(one.how == how for one in samples)), "all rows"
    )
    blocks = tuple(block for one in samples for block in one.blocks)
    return measure_sample(TokenCounter(renderer), Sampled(blocks, how), max_length)


def _describe(report: Report, opened: Sequence[Opened], objective: Objective | None) -> None:
    readings = [source.reading for source in opened]
    report.format = ", ".join(dict.fromkeys(reading.format for reading in readings))
    report.title = "; ".join(dict.fromkeys(printable(reading.title, 200) for reading in readings))
    report.objective = objective or readings[0].objective
    report.notes += [reading.note for reading in readings if reading.note]


def _check_one(
    number: int,
    source: Opened,
    request: CheckRequest,
    renderer: Renderer | None,
    stats: TokenStats | None,
    log: FingerprintLog,
    report: Report,
    sizes: Histogram,
    tell: Tell,
) -> Findings:
    rate = stats.bytes_per_token if stats else ROUGH_BYTES_PER_TOKEN
    counted_later = request.exact and renderer is not None
    limits = Limits(None if counted_later else request.max_length, rate)
    checked = scan(source, limits, log, tell, request.processes, number)
    found = checked.findings
    if 0 < checked.with_system < checked.usable:
        share = f"{checked.with_system:,} of {checked.usable:,} rows begin with a system message"
        found.add("system only sometimes", 0, "", share)
    if stats is not None and stats.refused and not counted_later:
        found.add("refused", 0, "", f"{stats.refused:,} of the sampled rows: {stats.refusal}")
    report.rows += checked.rows
    report.usable += checked.usable
    report.notes += [note for note in source.source.progress.notes if note not in report.notes]
    sizes.merge(checked.lengths)
    return found


def _compare(
    opened: Sequence[Opened],
    findings: Sequence[Findings],
    log: FingerprintLog,
    request: CheckRequest,
    report: Report,
    tell: Tell,
) -> None:
    """Rows that repeat others of the same data or of the evaluation data."""
    tell(0.0, "looking for repeated rows")

    def note(kind: str, line: int, words: str) -> None:
        number, here = in_file(line)
        findings[number].add(kind, here, "", words)

    def place(line: int) -> str:
        number, there = in_file(line)
        source = opened[number].source
        name = f" of {printable(source.path.name, 60)}" if len(opened) > 1 else ""
        return f"{source.place(there)}{name}"

    again: set[int] = set()
    for line, first in log.repeated(_EXACT):
        if len(again) < _MOST_REMEMBERED:
            again.add(line)
        note("duplicate", line, f"the same as {place(first)}")
    for line, first in log.repeated(_NEAR):
        if line not in again:
            note("near-duplicate", line, f"nearly the same as {place(first)}")
    if request.evaluation is None:
        return
    other = open_dataset(request.evaluation, request.objective)
    with FingerprintLog() as held_out:
        checked = scan(other, Limits(), held_out, tell, request.processes)
        report.evaluation = {"rows": checked.rows, "usable": checked.usable}
        there = other.source.place
        again.clear()
        for line, first in log.repeated(_EXACT, held_out):
            if len(again) < _MOST_REMEMBERED:
                again.add(line)
            note("in evaluation", line, f"also {there(first)} of the evaluation data")
        for line, first in log.repeated(_QUESTION, held_out):
            if line not in again:
                note(
                    "question in evaluation",
                    line,
                    f"the question is also in {there(first)} of the evaluation data",
                )


def _exact(
    opened: Sequence[Opened],
    renderer: Renderer | None,
    max_length: int | None,
    findings: list[tuple[Opened, Findings]],
    report: Report,
    tell: Tell,
) -> TokenStats:
    """Token lengths of all rows; rows without room for an answer are no longer usable."""
    assert renderer is not None
    counter = TokenCounter(renderer)
    parts: list[TokenStats] = []
    whole = Histogram()
    for source in opened:
        tell(0.0, "counting the tokens of all rows")
        found = Findings()
        part = measure_all(counter, all_forms(source), max_length, found)
        whole.merge(part.lengths)
        report.usable -= found.counts.get("no room", 0) + found.counts.get("refused", 0)
        findings.append((source, found))
        parts.append(part)
    tokens = sum(part.lengths.total for part in parts)
    rate = sum(part.lengths.total * part.bytes_per_token for part in parts) / max(1, tokens)
    refused = sum(part.refused for part in parts)
    refusal = next((part.refusal for part in parts if part.refusal), "")
    return TokenStats(
        "all rows", whole.rows, whole, {}, rate or ROUGH_BYTES_PER_TOKEN, max_length, refused, refusal
    )


def _problems(report: Report, findings: Sequence[tuple[Opened, Findings]]) -> None:
    for source, found in findings:
        name = printable(source.source.path.name, 100)
        several = len({one.source.path for one, _ in findings}) > 1
        for kind, count in found.counts.items():
            report.counts[kind] = report.counts.get(kind, 0) + count
        for kind, (line, where, problem, fix) in found:
            place = source.source.place(line) if line else ""
            place = f"{name}, {place}" if several and place else place
            told = KINDS[kind]
            report.problems.append(
                Problem(name, line or None, place, where, kind, problem, fix or told.fix, told.severity)
            )
    if not report.usable:
        report.counts["nothing usable"] = 1
        what = f"none of the {report.rows:,} rows can be used"
        told = KINDS["nothing usable"]
        report.problems.append(Problem("", None, "", "", "nothing usable", what, told.fix, told.severity))
    order = list(KINDS)
    report.problems.sort(key=lambda p: (SEVERITIES.index(p.severity), order.index(p.kind)))


def _advise(
    report: Report, stats: TokenStats, request: CheckRequest, context: int | None, epochs: bool = True
) -> None:
    choice = recommend_max_length(stats, context)
    report.choices["max_length"] = choice
    objective = request.objective or _as_objective(report.objective)
    report.choices["packing"] = recommend_packing(stats, request.max_length or choice.value, objective)
    if epochs:
        found: Choice[float] = recommend_epochs(report.usable)
        report.choices["num_train_epochs"] = found


def _as_objective(name: str | None) -> Objective | None:
    from engine.data.forms import OBJECTIVES

    return next((objective for objective in OBJECTIVES if objective == name), None)
