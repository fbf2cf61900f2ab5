"""What a shape is: a way of laying out examples in columns, and how rows of it become training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.data.columns import Mapped, Sample
from engine.data.forms import Form, Objective
from engine.data.reading import Item


@dataclass(frozen=True, slots=True)
class Candidate:
    """A shape that the columns of a dataset may have.

    Attributes:
        mapping: Role to column.
        confidence: From 0 to 1; 0.5 and less is a guess.
        reason: Why it is read so, one sentence.
        title: The shape in words where it depends on the columns, such as ``pairs of question and answer``.
        note: What the user should know.
    """

    mapping: Mapped
    confidence: float
    reason: str
    title: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """A layout of examples.

    Attributes:
        name: Its name in run.yaml (``format``) and in JSON output.
        title: What the rows are, in words: ``instructions with an answer``.
        form: What a row becomes.
        required: Roles that must have a column.
        optional: Roles that may have one.
        detect: The ways the columns may be of this shape; it looks at names and values.
        normalise: The training examples of one row; raises `RowProblemError` where it cannot be used.
        objectives: What it can be used for, where that is not what `form` can be used for.
        gather: Joins rows that belong together, for shapes whose examples are spread over several rows.
    """

    name: str
    title: str
    form: type[Form]
    required: tuple[str, ...]
    detect: Callable[[Sample], Iterable[Candidate]]
    normalise: Callable[[Mapping[str, Any], Mapped], list[Form]]
    optional: tuple[str, ...] = ()
    objectives: tuple[Objective, ...] | None = None
    gather: Callable[[Iterator[Item], Mapped], Iterator[Item]] | None = field(default=None)


def optional_columns(sample: Sample, used: Mapped, **names: tuple[str, ...]) -> dict[str, str]:
    """Role to column for those of these roles that have a column nothing else uses."""
    taken = set(used.values())
    found: dict[str, str] = {}
    for role, synonyms in names.items():
        column = sample.column(synonyms, lambda name: name not in taken and bool(sample.values(name)))
        if column is not None:
            found[role] = column
            taken.add(column)
    return found


def cell(row: Mapping[str, Any], mapping: Mapped, role: str) -> Any:
    """The value of a role in a row; None where the role has no column or the row has no such cell.

    A column may be a path into an object, such as ``data.text``.
    """
    column = mapping.get(role)
    if column is None:
        return None
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value
