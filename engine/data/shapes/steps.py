"""Solutions judged step by step, for process reward models: recognised, so that they are not taken for something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError
from engine.data.columns import PROMPTS, Mapped, Sample
from engine.data.forms import Form, Labelled
from engine.data.shapes.base import Candidate, Shape


def _detect(sample: Sample) -> Iterator[Candidate]:
    steps = sample.column(
        ("completions", "steps", "responses"), lambda name: sample.holds(name, _is_list_of(str))
    )
    labels = sample.column(
        ("labels", "ratings", "step_labels"), lambda name: sample.holds(name, _is_list_of(bool, int))
    )
    prompt = sample.column(PROMPTS, sample.is_text)
    if steps and labels and prompt:
        same = [
            len(row[steps]) == len(row[labels])
            for row in sample.rows
            if isinstance(row.get(steps), list) and isinstance(row.get(labels), list)
        ]
        if all(same) and sample.holds(labels, _is_list_of(bool)):
            yield Candidate(
                {"prompt": prompt, "steps": steps, "labels": labels},
                0.99,
                "Each step has a label of its own.",
            )


def _is_list_of(*kinds: type) -> Any:
    return lambda value: (
        isinstance(value, list) and bool(value) and all(isinstance(item, kinds) for item in value)
    )


def _normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    raise RowProblemError("labels of single steps cannot be trained on yet", mapping["labels"])


SHAPES = (
    Shape(
        "step_labels", "solutions with a label for each step", Labelled, ("prompt", "steps", "labels"), _detect, _normalise,
        objectives=(),
    ),
)  # fmt: skip
