"""Which rows are measured: those that training held out, or those of a file, and never one that was learnt from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.schema import RunConfig
from engine.data.dataset import load_rows
from engine.data.mixing import load_data
from engine.data.sources import Spec, spec_of
from engine.deliver import prompts
from engine.deliver.prompts import Prompt
from engine.errors import UserError
from engine.run.layout import RunDir


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows.

    Attributes:
        rows: In the form the objective trains on.
        asked: The same as questions.
        words: Which they are.
        notes: What was left out.
    """

    rows: list[dict[str, Any]]
    asked: list[Prompt]
    words: str
    notes: list[str]


def choose(run: RunDir, config: RunConfig, file: Path | None, limit: int) -> Chosen:
    """Rows to measure on.

    Args:
        run: The run, which remembers the commits of Hub datasets.
        config: Its settings.
        file: A dataset to take instead of the rows held out.
        limit: Most rows, taken evenly; 0 takes all.

    Raises:
        UserError: There are none, or the data cannot be read.
    """
    data = config.data.model_copy(
        update={
            "train": prompts.pinned(run, config.data.train),
            "eval": config.data.eval and prompts.pinned(run, config.data.eval),
        }
    )
    seed = config.training.seed
    loaded = load_data(
        data.train_specs(), data.eval_specs(), data.eval_fraction, config.method.objective, seed
    )
    notes: list[str] = []
    if file is None:
        rows, name = loaded.evaluation, "held-out rows"
        if not rows:
            raise UserError(
                "This run held no rows out of its training, so there is nothing to measure it on honestly.",
                f"{run.name}: eval_fraction {config.data.eval_fraction:g}",
                "Give rows that it did not learn from: --data FILE. For the next run: --eval_fraction 0.05",
            )
    else:
        spec: Spec = spec_of(file)
        read = load_rows(spec, config.method.objective, seed)
        rows, name = read.rows, f"rows of {spec.name}"
        if read.skipped:
            notes.append(f"{len(read.skipped):,} of {read.total:,} rows of {spec.name} cannot be used.")
    learnt = {_key(row) for row in loaded.train}
    fresh = [row for row in rows if _key(row) not in learnt]
    if len(fresh) < len(rows):
        notes.append(
            f"{len(rows) - len(fresh):,} of the {len(rows):,} {name} are word for word in the training data too; they are left "
            "out, because what was learnt by heart measures nothing."
        )
    if not fresh:
        raise UserError(
            f"All of the {name} are in the training data, so there is nothing to measure honestly.",
            str(file or run.name),
            "Give rows that it did not learn from: --data FILE",
        )
    kept = evenly(fresh, limit)
    words = f"{len(kept):,} {name}" if len(kept) == len(fresh) else f"{len(kept):,} of {len(fresh):,} {name}"
    return Chosen(kept, [prompts.of_row(row) for row in kept], words, notes)


def evenly(rows: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """At most so many rows, spread over all of them; 0 for all."""
    if not limit or len(rows) <= limit:
        return list(rows)
    return [rows[at * len(rows) // limit] for at in range(limit)]


def _key(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
