"""Public benchmarks through lm-eval (the LM Evaluation Harness), where it is installed: its samples become lines of our table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.deliver.evaluate.kinds import Kind
from engine.deliver.evaluate.report import Metric
from engine.deliver.evaluate.statistics import paired
from engine.deliver.evaluate.verdict import metric_of
from engine.display import printable
from engine.errors import UserError

Samples = Mapping[str, Sequence[Mapping[str, Any]]]
"""Task to its documents, each with ``doc_id``, ``filter``, ``metrics`` (names) and a value under each name."""


def require() -> None:
    """Check, without importing it, that lm-eval is here.

    Raises:
        UserError: It is not.
    """
    if find_spec("lm_eval") is None:
        raise UserError(
            "Public benchmarks (--tasks) are measured by lm-eval, which is not installed here.",
            "the Python environment of finetui",
            "Install it there: pip install 'lm-eval[hf]'",
        )


def check_names(names: Sequence[str]) -> None:
    """For worker processes: refuse what lm-eval does not know, before anything takes long; seconds, as it has thousands of tasks.

    Raises:
        UserError: One is neither a task nor a file.
    """
    known = import_module("lm_eval.tasks").TaskManager()
    for name in names:
        if not Path(name).exists() and not known.match_tasks([name]):
            near = difflib.get_close_matches(name, known.all_tasks, 3)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            raise UserError(
                f"lm-eval knows no task called {printable(name, 80)!r}, and there is no such file.",
                f"--tasks {printable(','.join(names), 200)}",
                f"{hint}List the names it knows: lm-eval ls tasks",
            )


def metrics_of(before: Samples, after: Samples, higher: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Compare two models on every metric of every task, document by document.

    Args:
        before: Samples of the first model.
        after: Of the second one.
        higher: Task to metric to whether higher is better; None where that is unknown.
    """
    made = []
    for task in sorted(set(before) & set(after)):
        old, new = _values(before[task]), _values(after[task])
        for name, which in sorted(set(old) & set(new)):
            documents = sorted(set(old[name, which]) & set(new[name, which]))
            if not documents:
                continue
            wanted = higher.get(task, {}).get(name)
            title = f"{task} {name}" + ("" if which == "none" else f" ({which})")
            first = [old[name, which][one] for one in documents]
            second = [new[name, which][one] for one in documents]
            is_share = all(value in (0.0, 1.0) for value in (*first, *second))
            kind = Kind(
                f"{task}/{name}" + ("" if which == "none" else f",{which}"),
                title,
                "",
                "" if wanted is None else "up" if wanted else "down",
                "share" if is_share else "number",
            )
            made.append(metric_of(kind, paired(first, second)))
    return made


def _values(samples: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, float]]:
    found: dict[tuple[str, str], dict[int, float]] = {}
    for sample in samples:
        for name in sample.get("metrics", ()):
            value = sample.get(name)
            if isinstance(value, int | float):  # others, such as pairs of sums, mean nothing for one document
                key = (str(name), str(sample.get("filter", "none")))
                found.setdefault(key, {})[int(sample["doc_id"])] = float(value)
    return found
