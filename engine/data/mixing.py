"""Mix the datasets of a run, and hold rows out for evaluation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.data.dataset import load_rows
from engine.data.forms import Objective
from engine.data.sources import Spec
from engine.display import printable
from engine.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything a run learns from and is measured on.

    Attributes:
        train: Rows to learn from, in the mix that was asked for.
        evaluation: Rows held out.
        conversational: They are conversations, not texts.
        warnings: Sentences for the user.
    """

    train: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    conversational: bool
    warnings: tuple[str, ...]


def load_data(
    train: Sequence[Spec], evaluation: Sequence[Spec], eval_fraction: float, objective: Objective, seed: int
) -> TrainingData:
    """Read, mix and split the sources of a run.

    Rows are held out before weights are applied, so that no row is both learnt and measured.

    Raises:
        UserError: As `load_rows`; or the sources hold examples of different forms.
    """
    warnings: list[str] = []
    rows = [
        (index, row) for index, spec in enumerate(train) for row in _loaded(spec, objective, seed, warnings)
    ]
    held_out = [row for spec in evaluation for row in _loaded(spec, objective, seed, warnings)]
    kinds = Counter(
        "text" if "text" in row else "conversation" for row in (*(row for _, row in rows), *held_out)
    )
    if len(kinds) > 1:
        raise UserError(
            "Some of the datasets are plain texts and some are conversations; one run takes one of them.",
            printable(", ".join(spec.path for spec in (*train, *evaluation)), 300),
            "Train on the texts first (cpt), then on the conversations in a second run.",
        )
    if not evaluation and eval_fraction > 0 and len(rows) > 1:
        rows, split_off = split(rows, eval_fraction, seed)
        held_out = [row for _, row in split_off]
    return TrainingData(_weighted(rows, train, seed), held_out, "text" not in kinds, tuple(warnings))


def _loaded(spec: Spec, objective: Objective, seed: int, warnings: list[str]) -> list[dict[str, Any]]:
    data = load_rows(spec, objective, seed)
    warnings += [f"{spec.name}: {note}" for note in data.notes]
    if data.reading.ambiguous:
        others = ", ".join(other.format for other in data.reading.alternatives[:3])
        warnings.append(
            f"{spec.name} is read as {data.reading.title}; it could also be read as {others} (format)."
        )
    if data.skipped:
        number, reason = data.skipped[0]
        warnings.append(
            f"{len(data.skipped):,} of {data.total:,} rows of {spec.name} cannot be used and are skipped; "
            f"the first is {data.place(number)}: {reason}"
        )
    return data.rows


def _weighted(rows: list[tuple[int, T]], specs: Sequence[Spec], seed: int) -> list[T]:
    """Each row as often as the weight of its source says; a fraction is drawn at random."""
    if all(spec.weight == 1 for spec in specs):
        return [row for _, row in rows]
    draw = random.Random(seed)
    mixed: list[T] = []
    for index, row in rows:
        whole, part = divmod(specs[index].weight, 1)
        mixed += [row] * (int(whole) + (draw.random() < part))
    return mixed


def split(
    rows: Sequence[T], eval_fraction: float, seed: int, max_eval: int | None = None
) -> tuple[list[T], list[T]]:
    """Hold some rows out for evaluation; both parts keep their order.

    The same rows, fraction and seed give the same split on every machine and Python version: each row draws one number
    from ``random.Random(seed)``, whose sequence Python guarantees, and the rows with the smallest are held out.

    Args:
        rows: The rows.
        eval_fraction: Share to hold out; 0 holds none out, otherwise at least 1 row lands in each part.
        seed: Any integer.
        max_eval: Hold out at most this many.

    Returns:
        Rows for training, rows for evaluation.

    Raises:
        UserError: Fewer than 2 rows cannot be split.
    """
    if eval_fraction <= 0:
        return list(rows), []
    if len(rows) < 2:
        raise UserError(
            "A dataset of 1 row cannot be split: at least 1 row is needed for training and 1 for evaluation.",
            f"eval_fraction {eval_fraction:g}",
            "Add rows, or set eval_fraction to 0 to train without evaluation.",
        )
    wanted = max(1, round(len(rows) * eval_fraction))
    num_eval = min(wanted, len(rows) - 1, max_eval if max_eval and max_eval > 0 else len(rows))
    draw = random.Random(seed)
    order = sorted(range(len(rows)), key=[draw.random() for _ in rows].__getitem__)
    held_out = set(order[:num_eval])
    train = [row for index, row in enumerate(rows) if index not in held_out]
    return train, [row for index, row in enumerate(rows) if index in held_out]
