"""An evaluation as lines, for terminals and screens alike; every foreign text is made harmless."""

from __future__ import annotations

from collections.abc import Sequence

from engine.deliver.evaluate.report import Metric, Report, Row
from engine.deliver.evaluate.verdict import amount, shift
from engine.display import printable

LONGEST = 20_000  # characters of an answer
MARKS = {"better": "better", "worse": "worse", "none": "no difference shown", "": ""}
NARROW = 72  # columns below which the verdicts get lines of their own


def table(report: Report, width: int = 100) -> list[tuple[str, str, str]]:
    """The metrics: a header, then a line each.

    Args:
        report: What was found.
        width: Columns there are.

    Returns:
        Each line as the numbers, the verdict in words, and the verdict's name for its colour.
    """
    longest = 28 if width >= NARROW else 14
    cells = [("", printable(report.before, 14), printable(report.after, 14), "change (95 % interval)")]
    cells += [_cells(metric, longest) for metric in report.metrics]
    wide = [max(len(line[column]) for line in cells) for column in range(4)]
    made = []
    for line, metric in zip(cells, [None, *report.metrics], strict=True):
        text = f"{line[0]:<{wide[0]}}  {line[1]:>{wide[1]}}  {line[2]:>{wide[2]}}  {line[3]:<{wide[3]}}"
        verdict = metric.verdict if metric is not None else ""
        words = MARKS[verdict]
        if len(text) + 2 + len(words) > width and verdict == "none":
            words = "none shown"
        made.append((text, words, verdict))
    return made


def worst_rows(report: Report, order: str) -> list[Row]:
    """Rows by how badly they went.

    Args:
        report: What was found.
        order: ``metric`` or ``loss``.
    """
    by_number = {row.number: row for row in report.rows}
    return [by_number[number] for number in report.worst.get(order, ()) if number in by_number]


def row_parts(report: Report, row: Row) -> list[tuple[str, str, bool]]:
    """Question, wanted answer and both answers of a row: a label, the text, and whether it ended by itself."""
    parts = [("question", row.question, True)]
    if row.expected is not None:
        parts.append(("expected", row.expected.strip(), True))
    if row.before is not None:
        parts.append((report.before, row.before, row.before_stopped))
    if row.after is not None:
        parts.append((report.after, row.after, row.after_stopped))
    return [
        (printable(label, 40), printable(text, LONGEST, newlines=True), ended) for label, text, ended in parts
    ]


def row_numbers(report: Report, row: Row) -> str:
    """The metrics of one row, before and after, in one line."""
    told = []
    for metric in report.metrics:
        pair = row.scores.get(metric.name)
        if pair is not None and None not in pair:
            first, second = (amount(metric, float(value or 0)) for value in pair)
            told.append(f"{metric.title} {first} → {second}")
    return ", ".join(told)


def worst_lines(report: Report, rows: Sequence[Row]) -> list[str]:
    """Rows as plain lines."""
    lines = []
    for row in rows:
        lines.append(f"row {row.number + 1}: {row_numbers(report, row)}")
        parts = row_parts(report, row)
        wide = max(len(label) for label, _, _ in parts)
        for label, text, ended in parts:
            shown = text.replace("\n", "\n" + " " * (wide + 4))
            lines.append(
                f"  {label:<{wide}}  {shown}" + ("" if ended else "  [cut off, it did not stop by itself]")
            )
        lines.append("")
    return lines


def _cells(metric: Metric, longest: int) -> tuple[str, str, str, str]:
    between = (
        f"{shift(metric, metric.difference)} ({shift(metric, metric.low)} to {shift(metric, metric.high)})"
    )
    return (
        printable(metric.title, longest),
        amount(metric, metric.before),
        amount(metric, metric.after),
        between,
    )
