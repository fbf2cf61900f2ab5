"""Columns assigned by hand: ``prompt=Frage,completion=Antwort``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from engine.data.columns import Sample, normal_name
from engine.data.shapes import all_shapes
from engine.data.shapes.base import Candidate, Shape
from engine.display import printable
from engine.errors import UserError

ALIASES = {
    "question": "prompt", "instruction": "prompt", "query": "prompt", "user": "prompt", "answer": "completion",
    "response": "completion", "output": "completion", "assistant": "completion", "conversations": "messages",
    "conversation": "messages", "turns": "messages", "context": "input", "kto_tag": "label", "image": "images",
    "reference": "answer", "ground_truth": "answer",
}  # fmt: skip
"""Other names of roles that are understood."""
VALUES = {"assistant"}
"""Roles of some shapes that name a person in the data, not a column."""
# Where the roles fit several shapes, the plainest comes first.
_ORDER = ("messages", "prompt_completion", "preference", "labelled", "text", "prompt_only", "chat_log")


def mapped(sample: Sample, mapping: Mapping[str, str], where: str) -> list[tuple[Shape, Candidate]]:
    """The shapes that a mapping made by hand fits, plainest first.

    Args:
        sample: Rows of the dataset.
        mapping: Role to column. If it does not suffice for any shape, it changes and completes what is recognised.
        where: The file, for messages.

    Raises:
        UserError: A column or a role does not exist.
    """
    columns = {role: _column(sample, role, column, where) for role, column in mapping.items()}
    found = [(shape, roles) for shape in all_shapes() if (roles := _roles(shape, columns)) is not None]
    whole = [(shape, roles) for shape, roles in found if shape.required and {*shape.required} <= roles.keys()]
    if whole:
        whole.sort(key=lambda pair: _ORDER.index(pair[0].name) if pair[0].name in _ORDER else len(_ORDER))
        return [(shape, _by_hand(roles, 1.0 - rank / 100)) for rank, (shape, roles) in enumerate(whole)]
    completed = list(_completed(sample, found))
    if completed:
        return completed
    known = sorted({role for shape in all_shapes() for role in (*shape.required, *shape.optional)})
    raise UserError(
        f"The mapping {printable(', '.join(mapping), 100)} does not say enough to read the rows.",
        where,
        f"Name the columns of a prompt and a completion, of messages, of a text, or of chosen and rejected answers. "
        f"Roles: {', '.join(known)}.",
    )


def _completed(
    sample: Sample, found: list[tuple[Shape, dict[str, str]]]
) -> Iterator[tuple[Shape, Candidate]]:
    for shape, roles in found:
        for candidate in shape.detect(sample):
            rest = {
                role: column for role, column in candidate.mapping.items() if column not in roles.values()
            }
            if {*shape.required} <= {*rest, *roles}:
                yield shape, _by_hand(rest | roles, candidate.confidence)


def _by_hand(roles: dict[str, str], confidence: float) -> Candidate:
    listed = ", ".join(f"{role} from {printable(column, 40)}" for role, column in roles.items())
    return Candidate(roles, confidence, f"Read as the mapping says: {listed}.")


def _roles(shape: Shape, columns: Mapping[str, str]) -> dict[str, str] | None:
    allowed = {*shape.required, *shape.optional}
    roles: dict[str, str] = {}
    for given, column in columns.items():
        role = given if given in allowed else ALIASES.get(given, "")
        if role not in allowed or role in roles:
            return None
        roles[role] = column
    return roles


def _column(sample: Sample, role: str, column: str, where: str) -> str:
    if role in VALUES and column not in sample.columns.values():
        return column  # a person
    written = set(sample.columns.values())
    if column in written or column.split(".")[0] in written:
        return column
    if (name := normal_name(column)) in sample.columns:
        return sample.columns[name]
    near = difflib.get_close_matches(column, [str(name) for name in written], 1, 0.5)
    seen = printable(", ".join(map(str, sample.columns.values())), 300)
    raise UserError(
        f"There is no column '{printable(column, 60)}' for {printable(role, 30)}.",
        where,
        f"Did you mean {printable(near[0], 60)}? Columns: {seen}." if near else f"Columns: {seen}.",
    )
