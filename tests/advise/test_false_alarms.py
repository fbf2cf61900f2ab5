"""A part of the study of false alarms: nearly no healthy run is warned of anything, and planted faults are named."""

from __future__ import annotations

import random

import pytest

from tests.advise.false_alarms import FAULTS, HEALTHY, Plant, healthy, name_of, told_after, wrongly

EACH = 12


def test_under_one_healthy_run_in_a_hundred_is_warned_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.advise.false_alarms.LONGEST", 3000)
    found = {
        (kind, seed): wrongly(healthy(random.Random(f"{kind} {seed}"), kind))
        for kind in HEALTHY
        for seed in range(EACH)
    }
    wrong = {which: rules for which, rules in found.items() if rules}
    assert len(wrong) <= 0.01 * len(found), wrong


@pytest.mark.parametrize("plant", FAULTS, ids=name_of)
def test_a_planted_fault_is_named(plant: Plant) -> None:
    after = [told_after(plant(random.Random(f"{name_of(plant)} {seed}"))) for seed in range(4)]
    assert None not in after
