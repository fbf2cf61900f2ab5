"""Published measurements against the arithmetic, on the rows beside the benchmark."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.vram_accuracy import DATA, Score, arithmetic, rows_of, score


@pytest.fixture(scope="module")
def found() -> Score:
    return score(rows_of(DATA), arithmetic)


def line(found: Score, metric: str, tier: str = "A") -> dict[str, Any]:
    return next(item for item in found.summary if (item["metric"], item["tier"]) == (metric, tier))


def test_allocated_memory(found: Score) -> None:
    allocated = line(found, "allocated")
    assert allocated["mape"] <= 2
    assert allocated["p95"] <= 5
    assert allocated["scored"] >= 0.9 * allocated["rows"] > 80


def test_one_gpu_and_several(found: Score) -> None:
    rows = rows_of(DATA)
    for several in (False, True):
        errors = [
            abs(item["error"])
            for item in found.rows
            if "error" in item
            and item["metric"] == "allocated"
            and item["tier"] == "A"
            and (rows[item["row"]]["num_gpus"] != "1") == several
        ]
        assert len(errors) > 20
        assert sum(errors) / len(errors) <= 2


def test_nvidia_smi(found: Score) -> None:
    shown = line(found, "nvidia-smi")
    assert shown["mape"] <= 6
    assert shown["max"] <= 15
    assert shown["scored"] > 40


def test_reserved_memory(found: Score) -> None:
    assert line(found, "reserved")["mape"] <= 6


def test_what_ran_out_of_memory_is_refused_and_what_ran_is_not(found: Score) -> None:
    confusion = line(found, "oom", "all")["confusion"]
    assert confusion["oom"] == {"does not fit": 20}
    assert confusion["ok"].get("does not fit", 0) <= 0.05 * confusion["ok"]["fits"]


def test_nineteen_of_twenty_runs_stay_below_the_upper_end(found: Score) -> None:
    below = [
        item["measured"] <= item["upper"] for item in found.rows if "upper" in item and item["tier"] == "A"
    ]
    assert len(below) > 140
    assert sum(below) >= 0.95 * len(below)


def test_only_what_finetui_does_not_offer_is_left_out(found: Score) -> None:
    reasons = {reason for item in found.summary for reason in item["skipped"]}
    assert all(reason.startswith(("method not offered", "third-party kernels")) for reason in reasons)
