"""From the numbers of every row to the report. For worker processes: numpy is loaded."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from engine.config.schema import RunConfig
from engine.deliver.evaluate.difference import Weights, change_of
from engine.deliver.evaluate.kinds import KINDS
from engine.deliver.evaluate.measure import Measured
from engine.deliver.evaluate.report import Metric, Report, Row
from engine.deliver.evaluate.statistics import paired
from engine.deliver.evaluate.verdict import decide, metric_of
from engine.deliver.prompts import Prompt

WORST = 50
SAME_LOSS = 1e-5
FIRST = ("function", "judge", "reward", "accuracy", "moved_right")
"""What decides where it was measured, whatever else was."""


def table(found: Measured, names: Sequence[str]) -> list[Metric]:
    """The metrics that at least one row has, in the given order."""
    made = []
    for name in names:
        column = "loss" if name == "perplexity" else name
        rows = [
            (number, scores[column])
            for number, scores in enumerate(found.scores)
            if column in scores and None not in scores[column]
        ]
        if not rows:
            continue
        values = [(float(pair[0] or 0), float(pair[1] or 0)) for _, pair in rows]
        weights = [float(found.tokens[number]) for number, _ in rows] if column == "loss" else None
        transform = _perplexity if name == "perplexity" else None
        same = SAME_LOSS if column == "loss" else 0.0
        before, after = [pair[0] for pair in values], [pair[1] for pair in values]
        made.append(metric_of(KINDS[name], paired(before, after, weights, transform, same=same)))
    return made


def report(
    run_name: str,
    config: RunConfig,
    found: Measured,
    asked: Sequence[Prompt],
    names: Sequence[str],
    weights: Weights,
    sides: tuple[str, str],
    data: str,
    settings: dict[str, Any],
    began: float,
) -> Report:
    """Everything together.

    Args:
        run_name: Of the run.
        config: Its settings.
        found: Numbers of every row.
        asked: The rows as questions.
        names: Metrics that were asked for, the one that decides first.
        weights: How far the weights went.
        sides: Names of the models.
        data: Which rows, in words.
        settings: How it was measured.
        began: When, in seconds since 1970.
    """
    first = [name for name in FIRST if any(name in scores for scores in found.scores)]
    extra = [name for name in ("margin", "preference") if any(name in scores for scores in found.scores)]
    metrics = table(found, list(dict.fromkeys([*first, *names, *extra])))
    pairs = [answers for answers in found.answers if answers is not None]
    changed = (
        sum(one[0].token_ids != one[1].token_ids for one in pairs) / len(pairs)
        if pairs and len(pairs[0]) == 2
        else None
    )
    change = change_of(weights, changed, found.kl, config, sides[0])
    primary = _primary(metrics, settings["chosen_by_user"])
    outcome, words = decide(metrics, primary, change)
    rows = [_row(number, prompt, found) for number, prompt in enumerate(asked)]
    notes = list(found.notes)
    if found.judged is not None:
        notes.append(found.judged.words())
    stops = next((metric for metric in metrics if metric.name == "stops"), None)
    if stops is not None and stops.after < 0.5:
        notes.append(
            f"Only {stops.after:.0%} of the answers of {sides[1]} ended by themselves: it may not have learned to stop, or "
            "--max_new_tokens is too small for its answers."
        )
    worst = {"metric": _worst(rows, primary, metrics), "loss": _worst(rows, "loss", metrics)}
    return Report(
        run_name, config.method.objective, sides[0], sides[1], data, rows, metrics, primary, outcome, words, change, worst,
        notes, settings, round(time.time() - began, 1), began,
    )  # fmt: skip


def _primary(metrics: Sequence[Metric], by_user: bool) -> str:
    """The first one; where the user did not choose it, the first that says anything at all about these models."""
    telling = [one.name for one in metrics if one.better and one.differing]
    return "" if not metrics else metrics[0].name if by_user or not telling else telling[0]


def _row(number: int, prompt: Prompt, found: Measured) -> Row:
    scores = {
        name: [None if value is None else round(value, 6) for value in pair]
        for name, pair in found.scores[number].items()
    }
    answers = found.answers[number]
    if answers is None or len(answers) != 2:
        return Row(number, prompt.question, prompt.expected, None, None, False, False, False, scores)
    old, new = answers
    return Row(
        number, prompt.question, prompt.expected, old.text, new.text, old.stopped, new.stopped,
        old.token_ids != new.token_ids, scores,
    )  # fmt: skip


def _worst(rows: Sequence[Row], name: str, metrics: Sequence[Metric]) -> list[int]:
    """Numbers of rows by how bad they are after, then by how much they lost; without those that are perfect."""
    metric = next((one for one in metrics if one.name == name), None)
    if metric is None:
        return []
    sign = -1.0 if metric.better == "down" else 1.0

    def badness(row: Row) -> tuple[float, float]:
        before, after = row.scores[name]
        return sign * float(after or 0), sign * (float(after or 0) - float(before or 0))

    measured = [row for row in rows if name in row.scores and None not in row.scores[name]]
    if metric.unit == "share":
        measured = [row for row in measured if row.scores[name][1] != 1.0]
    return [row.number for row in sorted(measured, key=badness)[:WORST]]


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))
