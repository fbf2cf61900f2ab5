"""Synthetic loss curves: what must be noticed, when, and what must not."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from engine.train.heal.curves import BAD_IN_A_ROW, SCALING_STEPS, WINDOW, Broken, Curve

NAN, INF = math.nan, math.inf


def run(curve: Curve, losses: Iterable[float], norms: Iterable[float | None] | None = None) -> Broken | None:
    """Feed until something is found."""
    losses = list(losses)
    for step, (loss, norm) in enumerate(zip(losses, norms or [1.0] * len(losses), strict=True), 1):
        if (found := curve.feed(step, loss, norm)) is not None:
            return found
    return None


def learning(
    count: int, seed: int = 0, noise: float = 0.4, start: float = 2.0, end: float = 0.8
) -> list[float]:
    """A loss that falls, with the noise of small batches."""
    luck = random.Random(seed)
    return [
        (end + (start - end) * math.exp(-4 * step / count)) * math.exp(luck.gauss(0, noise))
        for step in range(count)
    ]


def test_ordinary_noisy_curves_are_left_alone() -> None:
    for seed in range(150):
        luck = random.Random(seed)
        noise, end = luck.uniform(0.05, 0.6), luck.uniform(0.05, 1.8)
        assert run(Curve(), learning(400, seed, noise, end=end)) is None, (seed, noise, end)


def test_one_odd_batch_is_no_explosion() -> None:
    losses = learning(200)
    losses[120] = 80.0
    losses[150:153] = [30.0, 40.0, 20.0]
    assert run(Curve(), losses) is None


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_loss_that_is_no_number_three_times_in_a_row(bad: float) -> None:
    found = run(Curve(), [1.0] * 20 + [bad] * 5)
    assert found is not None
    assert (found.why, found.since, found.step) == ("not a number", 21, 20 + BAD_IN_A_ROW)
    assert "since step 21" in found.words
    assert run(Curve(), [1.0] * 20 + [bad, bad, 1.0] * 5) is None


def test_a_gradient_that_is_no_number_counts_but_not_while_float16_finds_its_scale() -> None:
    norms = [INF] * 8 + [1.0] * 10
    found = run(Curve(), [1.0] * 18, norms)
    assert found is not None
    assert found.since == 1
    assert run(Curve(scaled=True), [1.0] * 18, norms) is None
    stuck = run(Curve(scaled=True), [1.0] * 40, [INF] * 40)
    assert stuck is not None
    assert stuck.step == SCALING_STEPS


def test_a_loss_of_exactly_zero_is_told_where_answers_are_imitated() -> None:
    found = run(Curve(), [0.0] * 5, [0.0] * 5)
    assert found is not None
    assert found.why == "zero"
    assert run(Curve(imitates=False), [0.0] * 50, [0.0] * 50) is None
    assert run(Curve(has_loss=False, imitates=False), [0.0, 5.0, -3.0] * 30) is None


def test_an_explosion_is_noticed_within_a_window_and_dated_well() -> None:
    late = 0
    for seed in range(60):
        losses = learning(150, seed, 0.3) + [
            9.0 * math.exp(random.Random(seed).gauss(0, 0.2)) for _ in range(30)
        ]
        found = run(Curve(), losses)
        assert found is not None, seed
        assert found.why == "exploded"
        assert 151 <= found.step <= 151 + WINDOW
        late += found.since > 151
        assert 140 <= found.since <= found.step
    assert late < 6


def test_falling_back_to_where_it_began_is_an_explosion_too() -> None:
    # A small model that starts at ln(vocabulary) cannot get much worse than that.
    found = run(Curve(), learning(150, 1, 0.1, start=7.4, end=0.5) + [8.0] * 20)
    assert found is not None
    assert found.why == "exploded"


def test_what_was_learnt_by_heart_may_wobble() -> None:
    luck = random.Random(3)
    losses = learning(200, 2, 0.1, end=0.02) + [luck.choice([0.01, 0.02, 0.3]) for _ in range(300)]
    assert run(Curve(), losses) is None


def test_a_loss_that_does_not_move_is_told_only_when_that_is_sure() -> None:
    def flat_somewhere(losses: list[float]) -> bool:
        curve, seen = Curve(), False
        for step, loss in enumerate(losses, 1):
            curve.feed(step, loss, 1.0)
            seen = seen or curve.is_flat()
        return seen

    for seed in range(40):
        luck = random.Random(seed)
        assert flat_somewhere([1.3 + luck.gauss(0, 0.02) for _ in range(240)]), seed
        # Much noise hides what is learnt, and little is not nothing.
        assert not flat_somewhere([1.3 + luck.gauss(0, 0.4) for _ in range(240)]), seed
        assert not flat_somewhere(
            [1.3 - 0.15 * min(1, step / 60) + luck.gauss(0, 0.05) for step in range(240)]
        ), seed


def test_gradients_that_jump() -> None:
    curve = Curve()
    for step in range(1, 100):
        curve.feed(step, 1.0, 0.5)
        assert curve.jump() is None
    for step in range(100, 105):
        curve.feed(step, 1.0, 200.0)
    times = curve.jump()
    assert times is not None
    assert times == pytest.approx(400)
