"""Moments of a run in steps and in seconds, and what the objective tells."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.advise.objectives import OBJECTIVES
from tests.tui.test_monitor_model import event, fed, metric
from tui.monitor.model import MonitorModel
from tui.monitor.objective import MOST_METRICS, TITLES, ObjectiveMetrics, better, meaning, title
from tui.monitor.view import Place, View, seconds_of, step_of


def run(steps: int, each: float = 2.0) -> MonitorModel:
    return fed(*(metric(step, 1.0, t=1000.0 + each * step) for step in range(1, steps + 1)))


def test_a_moment_is_the_same_in_steps_and_seconds() -> None:
    model = run(100)
    assert seconds_of(model, Place(51)) == pytest.approx(100.0)
    assert step_of(model, Place(100.0, in_seconds=True)) == pytest.approx(51)
    assert seconds_of(model, Place(10_000)) == seconds_of(model, Place(100))
    assert step_of(model, None) is None


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 5000))
def test_there_and_back(x: float) -> None:
    model = LONG
    seconds = seconds_of(model, Place(x))
    assert seconds is not None
    assert step_of(model, Place(seconds, in_seconds=True)) == pytest.approx(x, rel=1e-3, abs=0.01)


LONG = run(5000)


def test_points_that_share_a_line_have_moments_of_their_own() -> None:
    shared = metric(4, 1.0, t=1008.0, earlier=[{"step": 2, "loss": 1.0}, {"step": 3, "loss": 1.0}])
    model = fed(metric(1, 1.0, t=1002.0), shared)
    assert [bucket.last for bucket in model.seconds_at.window()] == [0.0, 2.0, 4.0, 6.0]


def test_before_the_first_step_there_is_no_step() -> None:
    model = MonitorModel()
    assert step_of(model, Place(5.0, in_seconds=True)) is None
    assert seconds_of(model, Place(5.0)) is None
    assert seconds_of(model, Place(5.0, in_seconds=True)) == 5.0


def test_steps_that_are_trained_again_are_forgotten_everywhere() -> None:
    model = run(50)
    model.feed(metric(60, 1.0, t=2000.0, kl=0.5))
    model.feed(event("evaluation", step=60, eval_loss=0.1, best=True, **{"eval_rewards/margins": 1.0}))
    model.feed(event("phase", attempt=2, phase="resuming", words="Going on.", resumed_from=40))
    assert model.seconds_at.last_x == 40
    assert model.metrics.train["kl"].last is None
    assert model.metrics.eval["rewards/margins"].last is None
    assert model.best_mark is None


def test_the_best_is_what_the_trainer_called_the_best() -> None:
    model = fed(
        event("evaluation", step=1, eval_loss=0.1, best=False, best_by="eval_reward"),
        event("evaluation", step=2, eval_loss=0.9, best=True, best_by="eval_reward", eval_reward=3.0),
    )
    assert [(mark.x, mark.y) for mark in model.marks() if mark.kind == "best"] == [(2, 0.9)]
    assert model.metrics.eval["reward"].last == 3.0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_number_of_an_objective_has_words(objective: str) -> None:
    for number in OBJECTIVES[objective].metrics:  # type: ignore[index]
        assert title(number.name) == TITLES[number.name]
        assert len(title(number.name)) <= 20
        assert meaning(number.name)
        assert better(number.name) in ("up", "down", "")


def test_the_most_telling_comes_first_and_users_own_rewards_are_named() -> None:
    found = ObjectiveMetrics()
    found.feed(
        1, {"completions/mean_length": 9, "rewards/polite/mean": 0.5, "reward": 0.2, "loss": 1, "step": 1}
    )
    assert found.names("grpo") == ["reward", "completions/mean_length", "rewards/polite/mean"]
    assert (title("rewards/polite/mean"), meaning("rewards/polite/std")) == (
        "polite",
        "spread of the reward polite",
    )


def test_numbers_that_are_none_and_names_without_end() -> None:
    found = ObjectiveMetrics()
    found.feed(1, {f"rewards/{number}/mean": 1.0 for number in range(1000)})
    assert len(found.train) == MOST_METRICS
    found = ObjectiveMetrics()
    found.feed(1, {"kl": "NaN", "reward": "Infinity", "words": "5", "flag": True, "list": [1], "x" * 999: 1})
    assert set(found.train) == {"kl", "reward", "x" * 60 + "..."}
    assert math.isnan(found.train["kl"].last or 0.0)


def test_a_view_that_was_changed_is_told_from_the_first_one() -> None:
    assert View().plain
    assert not View(log=True).plain
    assert View(metric=3).plain
