"""What a check found, for people and for programs."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

from engine.choice import Choice
from engine.data.check.findings import KINDS, LISTED, Severity
from engine.data.check.fix_file import Fixed
from engine.display import printable

SEVERITIES: tuple[Severity, ...] = ("stops the run", "row is skipped", "worth a look")


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        file: Its file.
        line: Line or row number; None for the whole file.
        place: Where that is, in words, such as ``line 17``.
        field: The column or turn; may be empty.
        kind: A key of `KINDS`.
        problem: What is wrong.
        fix: What to do about it.
        severity: What it means for the training.
    """

    file: str
    line: int | None
    place: str
    field: str
    kind: str
    problem: str
    fix: str
    severity: Severity

    def as_json(self) -> dict[str, Any]:
        """The documented keys, and ``file`` and ``kind``."""
        return {
            "line": self.line,
            "field": self.field,
            "problem": self.problem,
            "fix": self.fix,
            "severity": self.severity,
            "file": self.file,
            "kind": self.kind,
        }


@dataclass(slots=True)
class Report:
    """What a check found.

    Attributes:
        format: How the rows are read, such as ``messages``; several joined by commas.
        objective: What they are for.
        title: The format in words.
        rows: Rows in all files.
        usable: Those that can be trained on.
        problems: Findings, most serious first; at most `LISTED` of each kind and file.
        counts: How often each kind was found.
        tokens: Lengths in tokens, as in JSON output.
        choices: Recommended ``max_length``, ``packing`` and ``num_train_epochs``.
        notes: Sentences on how the files were read.
        evaluation: Rows and usable rows of the evaluation data, where they were given.
        fixed: The repaired copies.
        seconds: How long it took.
    """

    format: str = ""
    objective: str | None = None
    title: str = ""
    rows: int = 0
    usable: int = 0
    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Choice[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    evaluation: dict[str, int] | None = None
    fixed: Fixed | None = None
    seconds: float = 0.0

    @property
    def stops(self) -> bool:
        """A run on these data would not start."""
        return self.usable == 0 or any(problem.severity == "stops the run" for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """The documented keys, and more."""
        out: dict[str, Any] = {
            "format": self.format,
            "objective": self.objective,
            "rows": self.rows,
            "usable": self.usable,
            "problems": [problem.as_json() for problem in self.problems],
            "tokens": self.tokens,
            "title": self.title,
            "stops": self.stops,
            "counts": self.counts,
            "choices": {
                name: {
                    "value": choice.value,
                    "reason": choice.reason,
                    "alternatives": list(choice.alternatives),
                }
                for name, choice in self.choices.items()
            },
            "notes": self.notes,
            "seconds": round(self.seconds, 2),
        }
        if self.evaluation is not None:
            out["evaluation"] = self.evaluation
        if self.fixed is not None:
            out["fixed"] = _fixed_json(self.fixed)
        return out

    def lines(self, width: int = 80, most: int = 3) -> list[str]:
        """The report as text.

        Args:
            width: Characters in a line.
            most: How many places of each kind of problem are named.
        """
        out = [f"{self.usable:,} of {self.rows:,} rows usable, read as {self.title} for {self.objective}."]
        out += [f"Note: {note}" for note in self.notes]
        if self.evaluation is not None:
            out.append(
                f"Evaluation data: {self.evaluation['usable']:,} of {self.evaluation['rows']:,} rows usable."
            )
        for severity in SEVERITIES:
            kinds = [kind for kind in KINDS if self.counts.get(kind) and KINDS[kind].severity == severity]
            if kinds:
                out += ["", f"{severity[:1].upper()}{severity[1:]}:"]
            for kind in kinds:
                out += self._kind_lines(kind, most)
        if not self.problems:
            out += ["", "Nothing to complain about."]
        if self.tokens:
            out += ["", *token_lines(self.tokens, width)]
        if self.choices:
            out += ["", *choice_lines(self.choices)]
        if self.fixed is not None:
            out += ["", *fixed_lines(self.fixed)]
        elif any(KINDS[kind].by_fix for kind in self.counts):
            out += ["", "Repair what can be repaired into a new file: finetui data check ... --fix NEW.jsonl"]
        return [short for line in out for short in _wrapped(line, width)]

    def _kind_lines(self, kind: str, most: int) -> list[str]:
        shown = [problem for problem in self.problems if problem.kind == kind]
        out = [f"  {self.counts[kind]:,} x {KINDS[kind].title}"]
        for problem in shown[:most]:
            place = ", ".join(filter(None, (problem.place, problem.field)))
            out.append(f"      {f'{place}: ' if place else ''}{problem.problem}")
        if self.counts[kind] > most:
            out.append(f"      and {self.counts[kind] - most:,} more")
        if shown:
            out.append(f"      {shown[0].fix}")
        return out


def token_lines(tokens: dict[str, Any], width: int = 80) -> list[str]:
    """Lengths in tokens as text, with a histogram that fits into `width` characters of ASCII."""
    measured = {
        "all rows": "counted in all rows",
        "sample": f"counted in a sample of {tokens['rows']:,} rows",
        "first rows": f"counted in the first {tokens['rows']:,} rows; later ones may differ",
        "rough estimate": "a rough estimate, 4 bytes a token; with --model M they are counted",
    }[tokens["how"]]
    ranges = tokens.get("intervals_95", {})

    def margin(name: str) -> str:
        low, high = ranges.get(name, (0, 0))
        return f" ({low:,.0f} to {high:,.0f})" if name in ranges and low != high else ""

    out = [f"Length of a row in tokens, {measured}:"]
    parts = [f"mean {tokens['mean']:,.0f}{margin('mean')}"]
    parts += [
        f"{share} % up to {value:,}{margin(f'p{share}')}" for share, value in tokens["percentiles"].items()
    ]
    parts.append(f"longest {tokens['longest']:,}")
    line = "  "
    for part in parts:
        if len(line) + len(part) + 2 > width and line.strip():
            out.append(line.rstrip())
            line = "  "
        line += part + (", " if part != parts[-1] else ".")
    out.append(line.rstrip())
    if ranges:
        out.append("  In brackets: where the true value lies with 95 % probability.")
    if "max_length" in tokens:
        low, high = ranges.get("truncated", (0, 0))
        between = f" ({100 * low:.1f} to {100 * high:.1f} %)" if "truncated" in ranges else ""
        share = 100 * tokens["truncated_share"]
        out.append(
            f"  Longer than max_length {tokens['max_length']:,}, so cut: {share:.1f} %{between} of the rows."
        )
    if "refused_by_template" in tokens:
        out.append(f"  The chat template refuses {tokens['refused_by_template']:,} rows.")
    bins = tokens["histogram"]
    most = max((row["rows"] for row in bins), default=0)
    if most:
        labels = [f"{row['from']:,} to {row['to']:,}" for row in bins]
        left = max(map(len, labels)) + 2
        counts = [f"{row['rows']:,}" for row in bins]
        room = max(1, width - left - 2 - max(map(len, counts)) - 1)
        out += [
            f"{label:>{left}}  {'#' * (max(1, round(row['rows'] / most * room)) if row['rows'] else 0)} {count}".rstrip()
            for label, row, count in zip(labels, bins, counts, strict=True)
        ]
    return out


def choice_lines(choices: dict[str, Choice[Any]]) -> list[str]:
    """Recommended settings with their reasons, as text."""
    return [
        "Recommended:",
        *(f"  {name} {_value(choice.value)}: {choice.reason}" for name, choice in choices.items()),
    ]


def fixed_lines(fixed: Fixed) -> list[str]:
    """What a repaired copy holds, as text."""
    out = [f"Written: {printable(fixed.out, 300)}, {fixed.rows:,} rows."]
    for words, count in fixed.changes.counts.items():
        listed = [str(line) for line, *_ in fixed.changes.listed[words][:5]]
        out.append(f"  {count:,} x {words}: line {', '.join(listed)}{', ...' if count > 5 else ''}")
    if not fixed.changes.counts:
        out.append("  Nothing had to be changed.")
    if fixed.rejected_file is not None:
        out.append(
            f"  {fixed.rejected:,} rows could not be repaired; they are in {printable(fixed.rejected_file, 300)}, with the reason."
        )
    return out


def _wrapped(line: str, width: int) -> list[str]:
    """A line broken between words, so that it fits; what follows is moved in a little further."""
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line, width, subsequent_indent=f"{indent}  ", drop_whitespace=True, break_long_words=False
    )


def _fixed_json(fixed: Fixed) -> dict[str, Any]:
    return {
        "out": str(fixed.out),
        "rows": fixed.rows,
        "rejected": fixed.rejected,
        "rejected_file": str(fixed.rejected_file) if fixed.rejected_file else None,
        "changes": [
            {
                "change": words,
                "count": count,
                "lines": [line for line, *_ in fixed.changes.listed[words][:LISTED]],
            }
            for words, count in fixed.changes.counts.items()
        ],
    }


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
