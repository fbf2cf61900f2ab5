"""Accuracy of the memory predictors against published measurements.

``python -m tests.bench.vram_accuracy FILE.csv [--predictor arithmetic|simulate] [--rows]``: one JSON object a line for
every metric and tier, and one for runs that ended for lack of memory. ``--rows`` adds a line for every row. As a
benchmark, without a file: both predictors on the rows beside this module, with their speed.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.fit.cards import outside_torch
from engine.fit.predict import predict
from engine.fit.types import Prediction, Range
from tests.bench._rows import Case, Skip, read

DATA = Path(__file__).parent / "data" / "vram_measured.csv"
Predictor = Callable[[Case], Prediction]


@dataclass(slots=True)
class Score:
    """What a predictor made of some rows.

    Attributes:
        summary: A line for every metric and tier, and one for runs that ended for lack of memory.
        rows: A line for every row that was predicted.
        seconds: How long each prediction took.
    """

    summary: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def arithmetic(case: Case) -> Prediction:
    """The instant predictor."""
    return predict(case.architecture, case.setup, case.profile, case.card)


def simulated(case: Case) -> Prediction:
    """The simulated step, for rows that the installed libraries can express."""
    from engine.fit.simulate.predict import Circumstances, simulate

    card = case.card
    outside = outside_torch(card, case.setup.num_gpus)
    circumstances = Circumstances(
        capability=card.compute_capability if card else (8, 0),
        context=outside,
        capacity=card.usable - outside if card else None,
    )
    return simulate(case.setup, case.architecture, case.profile, circumstances)


PREDICTORS: dict[str, Predictor] = {"arithmetic": arithmetic, "simulate": simulated}


def score(rows: Iterable[Mapping[str, str]], predictor: Predictor) -> Score:
    """Predict every row and compare."""
    found = Score()
    errors: dict[tuple[str, str], list[float]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    skipped: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    confusion = {"oom": Counter[str](), "ok": Counter[str]()}
    out_of_memory = ("oom", "all")
    known: dict[tuple[Any, ...], Prediction | str] = {}
    for number, row in enumerate(rows):
        case = read(row)
        key = (case.metric, case.tier) if case.fitted else out_of_memory
        counts[key] += 1
        if isinstance(case, Skip):
            skipped[key][case.reason] += 1
            continue
        run = (case.architecture.name, case.setup, case.profile, case.card)
        if run not in known:  # one run was often measured in several ways
            started = time.perf_counter()
            known[run] = _answer(predictor, case)
            found.seconds += [time.perf_counter() - started] * isinstance(known[run], Prediction)
        prediction = known[run]
        if isinstance(prediction, str):
            skipped[key][prediction] += 1
            continue
        line: dict[str, Any] = {
            "row": number, "metric": case.metric, "tier": case.tier, "profile": case.profile.name,
        }  # fmt: skip
        if case.card is not None:
            line["verdict"] = "fits" if prediction.smi.p95 <= case.card.usable else "does not fit"
            confusion["ok" if case.fitted else "oom"][line["verdict"]] += 1
        elif not case.fitted:
            skipped[key]["GPU unknown"] += 1
        if case.measured is not None and case.fitted:
            expected = interval(prediction, case.metric)
            errors[key].append(100 * (expected.p50 / case.measured - 1))
            line |= {
                "measured": case.measured,
                "predicted": expected.p50,
                "upper": expected.p95,
                "error": round(errors[key][-1], 2),
            }
        found.rows.append(line | {"binding": prediction.binding.name})
    for key in sorted(counts.keys() - {out_of_memory}):
        found.summary.append(
            {
                "metric": key[0],
                "tier": key[1],
                "rows": counts[key],
                "scored": len(errors[key]),
                "skipped": dict(skipped[key]),
                **figures(errors[key]),
            }
        )
    found.summary.append(
        {
            "metric": "oom",
            "tier": "all",
            "rows": counts[out_of_memory],
            "scored": sum(confusion["oom"].values()),
            "skipped": dict(skipped[out_of_memory]),
            "confusion": {name: dict(counter) for name, counter in confusion.items()},
        }
    )
    return found


def _answer(predictor: Predictor, case: Case) -> Prediction | str:
    """The prediction, or why there is none; one row never stops the others."""
    try:
        return predictor(case)
    except UserError as refusal:
        return f"refused: {refusal.what}"
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"failed: {type(error).__name__}: {str(error)[:80]}"


def interval(prediction: Prediction, metric: str) -> Range:
    """The predicted numbers that a metric measures; one that says nothing else is what ``nvidia-smi`` shows."""
    torch = {
        "allocated": prediction.allocated,
        "active": prediction.allocated,
        "reserved": prediction.reserved,
    }
    return torch.get(metric, prediction.smi)


def figures(errors: list[float]) -> dict[str, float | None]:
    """Mean, median, 95th percentile and maximum of the absolute errors, in per cent."""
    if not errors:
        return {"mape": None, "median": None, "p95": None, "max": None}
    sizes = sorted(abs(error) for error in errors)
    return {
        "mape": round(statistics.fmean(sizes), 3),
        "median": round(statistics.median(sizes), 3),
        "p95": round(sizes[-(-95 * len(sizes) // 100) - 1], 3),
        "max": round(sizes[-1], 3),
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a file."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def main(argv: list[str] | None = None) -> int:
    """Print the summary; without arguments, of both predictors, with their speed."""
    if argv is None:
        for name, predictor in PREDICTORS.items():
            found = score(rows_of(DATA), predictor)
            for line in found.summary:
                print(json.dumps({"bench": "vram_accuracy", "predictor": name} | line), flush=True)
            speed = {
                "bench": f"vram_speed.{name}",
                "predictions": len(found.seconds),
                "median_ms": round(1000 * statistics.median(found.seconds), 2),
                "max_ms": round(1000 * max(found.seconds), 2),
            }
            print(json.dumps(speed), flush=True)
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.bench.vram_accuracy")
    parser.add_argument("file", nargs="?", type=Path, default=DATA)
    parser.add_argument("--predictor", choices=list(PREDICTORS), default="arithmetic")
    parser.add_argument("--rows", action="store_true", help="a line for every row, too")
    arguments = parser.parse_args(argv)
    found = score(rows_of(arguments.file), PREDICTORS[arguments.predictor])
    for line in (found.rows if arguments.rows else []) + found.summary:
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or None))
