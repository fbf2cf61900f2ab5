"""Which step was best, how long ago, and when a model begins to learn by heart: on made-up curves."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from engine.advise.overfitting import overfitting
from engine.train.best import best_step, evaluations_since_best, mark, measured


def curve(values: list[float], every: int = 10) -> dict[int, float]:
    return {index * every: value for index, value in enumerate(values)}


def falling(steps: int, to: float = 0.1, noise: float = 0.0, seed: int = 0) -> dict[int, float]:
    luck = random.Random(seed)
    return {
        step: (to + 2 * math.exp(-step / 20)) * math.exp(luck.gauss(0, noise)) for step in range(1, steps + 1)
    }


def test_overfitting_is_named_with_its_beginning() -> None:
    held_out = curve([2.0, 1.2, 0.9, 0.8, 0.85, 0.95])
    found = overfitting(held_out, falling(50, noise=0.2))
    assert found is not None
    assert found.since == 30
    assert found.held_out == (0.8, 0.95)
    assert found.training[1] < found.training[0]


def test_it_is_noticed_at_the_second_rise() -> None:
    values = [2.0, 1.2, 0.9, 0.8, 0.85, 0.95]
    noticed = [count for count in range(1, 7) if overfitting(curve(values[:count]), falling(10 * count - 10))]
    assert noticed == [6]


def test_it_is_noticed_from_the_very_start() -> None:
    assert overfitting(curve([1.0, 1.2, 1.5]), falling(20)) is not None


@pytest.mark.parametrize(
    "values",
    [
        [2.0, 1.5, 1.2, 1.1, 1.05, 1.04],  # it learns
        [2.0, 1.0, 1.001, 1.002, 1.003],  # flat
        [2.0, 1.0, 1.1, 1.05, 1.12, 1.06],  # up and down
        [2.0, 1.0, 1.3],  # one rise
        [2.0],
        [],
    ],
)
def test_what_is_no_overfitting(values: list[float]) -> None:
    assert overfitting(curve(values), falling(60)) is None


def test_both_losses_rising_is_something_else() -> None:
    rising = {step: 1 + step / 50 for step in range(1, 51)}
    assert overfitting(curve([2.0, 1.0, 1.2, 1.4, 1.6, 1.8]), rising) is None


def test_the_best_step_and_how_long_ago() -> None:
    values = {0: 3.0, 10: 1.0, 20: 1.0, 30: 2.0}
    assert best_step(values, False) == 10
    assert best_step(values, True) == 0
    assert best_step(values, False, among={20, 30, 40}) == 20
    assert best_step({}, False) is None
    assert evaluations_since_best(values, False) == 2
    assert evaluations_since_best({}, False) == 0


def test_what_is_no_number_is_never_the_best() -> None:
    history = [
        {"step": 5, "eval_loss": math.nan},
        {"step": 10, "eval_loss": 2.0},
        {"step": 10, "loss": 1.0},
        {"step": 10, "eval_loss": 1.5},
    ]
    assert measured(history, "eval_loss") == {10: 1.5}


def test_the_mark_moves_to_the_new_best(tmp_path: Path) -> None:
    for name in ("checkpoint-1", "checkpoint-2"):
        (tmp_path / name).mkdir()
        mark(tmp_path, name)
        assert (tmp_path / "best").resolve() == tmp_path / name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "checkpoint-1", "checkpoint-2"]
