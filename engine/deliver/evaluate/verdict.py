"""From numbers to plain words: better, worse, or no difference that the data can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from engine.deliver.evaluate.kinds import KINDS, Kind
from engine.deliver.evaluate.report import Change, Metric, Outcome
from engine.deliver.evaluate.statistics import FEWEST, Interval

FEW = 30  # rows below which the user is told that they are few
MANY = 1_000_000  # rows that nobody will collect


def metric_of(kind: Kind, found: Interval) -> Metric:
    """A line of the table."""
    verdict = ""
    if kind.better:
        went_up = found.difference > 0
        verdict = "none" if not found.is_shown else "better" if went_up == (kind.better == "up") else "worse"
    is_told = verdict == "none" and found.differing >= FEWEST
    return Metric(
        **{**asdict(found), "needed": found.needed if is_told else None},
        name=kind.name,
        title=kind.title,
        unit=kind.unit,
        better=kind.better,
        verdict=verdict,
    )


def decide(metrics: Sequence[Metric], primary: str, change: Change) -> tuple[Outcome, list[str]]:
    """The verdict and its sentences.

    Args:
        metrics: The table.
        primary: Name of the metric that decides.
        change: How far the models are apart.
    """
    if change.kind == "identical":
        return "identical", [f"No difference: the two models are identical. {change.words}"]
    main = next((metric for metric in metrics if metric.name == primary), None)
    if main is None:
        return "none", ["No verdict: nothing could be measured on these rows."]
    sentences = [_first(main)]
    better = [one.title for one in metrics if one.verdict == "better" and one.name != primary]
    worse = [one.title for one in metrics if one.verdict == "worse" and one.name != primary]
    if main.verdict == "better" and worse:
        sentences.append(f"But worse: {', '.join(worse)}.")
    elif main.verdict == "worse" and better:
        sentences.append(f"But better: {', '.join(better)}.")
    elif main.verdict == "none" and (better or worse):
        parts = [
            f"{word}: {', '.join(names)}" for word, names in (("better", better), ("worse", worse)) if names
        ]
        sentences.append(f"Other numbers differ, though: {'; '.join(parts)}.")
    if main.rows < FEW:
        sentences.append(f"These are only {main.rows} rows; more would make the numbers surer.")
    if change.kind == "hardly":
        sentences.append(change.words)
    outcomes: dict[str, Outcome] = {"better": "better", "worse": "worse"}
    return outcomes.get(main.verdict, "none"), sentences


def amount(metric: Metric, value: float) -> str:
    """A number of the table with its unit."""
    if metric.unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:,.1f}" if metric.unit == "tokens" or abs(value) >= 1000 else f"{value:.3f}"


def shift(metric: Metric, value: float) -> str:
    """A difference, with its sign; shares in percentage points."""
    if metric.unit == "share":
        text = f"{100 * value:+.1f}"
    else:
        text = f"{value:+,.1f}" if metric.unit == "tokens" or abs(value) >= 1000 else f"{value:+.3f}"
    return text if any(digit in text for digit in "123456789") else text.replace("-", "+")


def _first(main: Metric) -> str:
    meant = f" ({KINDS[main.name].words})" if main.name in KINDS else ""
    went = f"{main.title}{meant} went from {amount(main, main.before)} to {amount(main, main.after)} on {main.rows:,} rows"
    unit = " points" if main.unit == "share" else ""
    between = f"{shift(main, main.low)} to {shift(main, main.high)}{unit}"
    if main.verdict in ("better", "worse"):
        return f"{main.verdict.capitalize()}: {went} (the change is {between}, with 95 % certainty)."
    same = f"No difference that these data can show: {went}"
    if main.difference == 0:
        return f"{same}, {'exactly the same' if not main.differing else 'the same on average'}."
    if main.differing < FEWEST:
        return f"{same}. Only {main.differing} rows differ; fewer than {FEWEST} say nothing."
    told = f"{same}, which may be chance (with 95 % certainty the change is somewhere from {between})."
    if main.needed is None or main.needed > MANY:
        return f"{told} If there is a difference, it is too small to matter."
    return f"{told} To be sure about a change of this size takes roughly {main.needed:,} rows."
