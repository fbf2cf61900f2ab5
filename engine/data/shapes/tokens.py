"""Rows that are already token numbers of one particular model: recognised, so that they can be refused in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError
from engine.data.columns import Mapped, Sample
from engine.data.forms import Form, Text
from engine.data.shapes.base import Candidate, Shape


def _detect(sample: Sample) -> Iterator[Candidate]:
    column = sample.columns.get("input_ids")
    if column is not None and sample.holds(column, lambda value: isinstance(value, list)):
        yield Candidate({"tokens": column}, 0.5, "The column input_ids holds token numbers.")


def _normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    raise RowProblemError("token numbers instead of text", mapping["tokens"])


SHAPES = (
    Shape(
        "tokenized",
        "token numbers of one particular model",
        Text,
        ("tokens",),
        _detect,
        _normalise,
        objectives=(),
    ),
)
