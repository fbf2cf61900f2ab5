"""Runs side by side: the settings in which they differ, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.config.loading import load
from engine.display import duration, gib, printable
from engine.errors import UserError
from engine.run.comparing import Result, differing, result_of
from engine.run.state import find_run

WIDTH = 80
NAME, CELL = 24, 16  # characters at most
Column = tuple[str, list[str]]


def compared(names: Sequence[str]) -> tuple[list[Result], dict[str, dict[str, Any]]]:
    """Results and settings of runs, by name; settings are only those that differ.

    Raises:
        UserError: There is no such run.
    """
    runs = [find_run(name) for name in names]
    settings: dict[str, dict[str, Any]] = {}
    for run in runs:
        settings[run.name] = {}
        try:
            config = load(run.config)
        except UserError:
            continue  # of another version: its results still count
        for section in config.model_dump(mode="json").values():
            settings[run.name].update(section)
    keys = differing({name: values for name, values in settings.items() if values})
    return (
        [result_of(run) for run in runs],
        {name: {key: values.get(key) for key in keys if values} for name, values in settings.items()},
    )


def to_json(results: Sequence[Result], settings: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for programs: a list of runs, in the order in which they were named."""
    return [{**result.to_dict(), "settings": settings[result.name]} for result in results]


def lines(results: Sequence[Result], settings: dict[str, dict[str, Any]]) -> list[str]:
    """Tables of at most 80 columns; what does not fit beside the name goes into a further table below."""
    measures = {result.measure for result in results} - {None}
    measure = measures.pop() if len(measures) == 1 else "measure"
    # At what is not known to be a loss, more is better.
    sign = 1 if measure == "eval_loss" else -1
    ranked = sorted(
        results, key=lambda one: (one.best is None or one.best != one.best, sign * (one.best or 0))
    )
    keys = list(dict.fromkeys(key for values in settings.values() for key in values))
    columns: list[Column] = [
        (key, [_value(settings[result.name].get(key)) for result in ranked]) for key in keys
    ]
    columns += [
        (f"best {measure}", [_number(result.best) for result in ranked]),
        ("at step", [str(result.best_step) if result.best_step is not None else "-" for result in ranked]),
        ("last eval", [_number(result.eval_loss) for result in ranked]),
        ("state", [result.state for result in ranked]),
        ("time", [duration(result.seconds) for result in ranked]),
        (
            "tokens/s",
            [
                "-" if result.tokens_per_second is None else f"{result.tokens_per_second:,.0f}"
                for result in ranked
            ],
        ),
        (
            "peak memory",
            [
                "-" if result.peak_memory is None else f"{gib(result.peak_memory)} {result.memory_of}"
                for result in ranked
            ],
        ),
    ]
    if any(result.price is not None for result in ranked):
        columns.append(
            ("price", ["-" if result.price is None else f"${result.price:,.2f}" for result in ranked])
        )
    if any(result.changed for result in ranked):
        columns.append(("changed", [printable(result.changed or "-", CELL) for result in ranked]))
    return _tables([_name(result.name) for result in ranked], columns)


def _tables(names: list[str], columns: list[Column]) -> list[str]:
    first = max(len("run"), *(len(name) for name in names))
    tables: list[list[Column]] = [[]]
    used = first
    for column in columns:
        wide = 2 + _width(column)
        if tables[-1] and used + wide > WIDTH:
            tables.append([])
            used = first
        tables[-1].append(column)
        used += wide
    out: list[str] = []
    for table in tables:
        out += [""] if out else []
        out.append(f"{'run':<{first}}" + "".join(f"  {column[0][:30]:>{_width(column)}}" for column in table))
        for row, name in enumerate(names):
            out.append(
                f"{name:<{first}}" + "".join(f"  {column[1][row]:>{_width(column)}}" for column in table)
            )
    return out


def _width(column: Column) -> int:
    return max(min(30, len(column[0])), *(len(cell) for cell in column[1]))


def _name(name: str) -> str:
    """Names of one sweep differ at their end, so a long one loses its middle."""
    return name if len(name) <= NAME else f"{name[: NAME - 13]}…{name[-12:]}"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        value = ", ".join(str(one.get("path", one)) if isinstance(one, dict) else str(one) for one in value)
    text = str(value)
    # Of a path the end says most.
    return printable(text if len(text) <= CELL else f"…{text[-CELL + 1 :]}", CELL + 8)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
