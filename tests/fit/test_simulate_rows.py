"""Published measurements of real GPU runs against the simulated step, on the rows beside the benchmark.

Every row whose software the installed libraries can be made to follow is scored; the others are refused with a reason.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from dataclasses import dataclass

import pytest

from engine.errors import UserError
from engine.fit.types import Prediction
from tests.bench._rows import Case, Skip, read
from tests.bench.vram_accuracy import DATA, interval, rows_of, simulated

pytestmark = pytest.mark.thorough

GIB = 1 << 30
# Words of a refusal: FSDP and ZeRO, torch.compile and other trainers' ways, LitGPT's own model code, remote code.
UNLIKE = ("splits the model", "compiled", "another trainer", "works differently", "cannot build")


@dataclass(frozen=True, slots=True)
class Scored:
    """One row with its prediction."""

    case: Case
    notes: str
    prediction: Prediction

    @property
    def error(self) -> float:
        assert self.case.measured is not None
        return 100 * (interval(self.prediction, self.case.metric).p50 / self.case.measured - 1)


@pytest.fixture(scope="module")
def rows() -> tuple[list[Scored], list[str]]:
    found: list[Scored] = []
    refusals: list[str] = []
    known: dict[object, Prediction] = {}
    for row in rows_of(DATA):
        case = read(row)
        if isinstance(case, Skip) or case.tier != "A" or not case.fitted:
            continue
        key = (case.architecture, case.setup, case.profile, case.card)
        try:
            prediction = known.get(key) or known.setdefault(key, simulated(case))
        except UserError as refusal:
            refusals.append(refusal.what)
            continue
        found.append(Scored(case, row["notes"], prediction))
    return found, refusals


def test_the_targets_are_met(rows: tuple[list[Scored], list[str]]) -> None:
    errors: dict[str, list[float]] = defaultdict(list)
    for row in rows[0]:
        errors[row.case.metric].append(abs(row.error))
    for metric, count, mean, most in (
        ("allocated", 39, 1.0, 3.0),
        ("reserved", 15, 6.0, 15.0),
        ("nvidia-smi", 18, 6.0, 15.0),
    ):
        assert len(errors[metric]) >= count
        assert statistics.fmean(errors[metric]) <= mean
        assert max(errors[metric]) <= most


def test_other_software_is_refused_with_its_reason(rows: tuple[list[Scored], list[str]]) -> None:
    for refusal in rows[1]:
        assert any(words in refusal for words in UNLIKE), refusal


def test_every_run_needs_less_than_the_upper_end(rows: tuple[list[Scored], list[str]]) -> None:
    for row in rows[0]:
        if row.case.metric == "allocated":
            assert row.case.measured is not None
            assert row.case.measured <= row.prediction.allocated.p95


def test_memory_between_steps(rows: tuple[list[Scored], list[str]]) -> None:
    compared = 0
    for row in rows[0]:
        steady = re.search(r"steady alloc ([\d.]+) GiB", row.notes)
        if steady:
            compared += 1
            assert row.prediction.steady / GIB == pytest.approx(float(steady[1]), rel=0.001)
    assert compared >= 30
