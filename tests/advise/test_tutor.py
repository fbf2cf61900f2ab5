"""The tutor on recorded runs of the embedded model (python -m tests.advise.record_curves), and on numbers that only a GPU tells."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.advise.curves import Curves, Part
from engine.advise.tutor import Advice, advise
from tui.monitor.tutor import parts_of, start_of
from tui.plot import Series

FOLDER = Path(__file__).with_name("curves")


def series(points: Sequence[dict[str, Any]], key: str) -> Series:
    """A curve as the monitor keeps it."""
    made = Series(key)
    for point in points:
        if key in point:
            made.append(point["step"], float(point[key]))
    return made


def recorded(name: str, share: float = 1.0) -> Curves:
    """A recorded run as it stood after a share of its steps."""
    told = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    last = told["points"][-1]["step"]
    points = [point for point in told["points"] if point["step"] <= share * last]
    step = points[-1]["step"]
    success = {"dpo": "rewards/accuracies", "grpo": "reward"}.get(told["objective"], "")
    return Curves(
        objective=told["objective"],
        step=step,
        max_steps=last,
        loss=parts_of(series(points, "loss")),
        start=start_of(series(points, "loss")),
        held_out=[(at, value) for at, value in told["held_out"] if at <= step],
        learning_rate=max(point.get("learning_rate", 0.0) for point in points),
        success=parts_of(series(points, success)) if success else (),
        same_reward=parts_of(series(points, "frac_reward_zero_std")),
        remaining=3600 * (1 - step / last),
        price_per_hour=2.0,
    )


def first(name: str, share: float = 1.0) -> Advice:
    """The most urgent thing that is said."""
    return advise(recorded(name, share))[0]


def abouts(name: str, share: float) -> list[str]:
    """The names of all that is said."""
    return [advice.about for advice in advise(recorded(name, share))]


LATER = (0.3, 0.5, 0.7, 0.9)


def test_a_good_run_is_praised_and_never_told_to_stop() -> None:
    assert abouts("good", 0.1) == ["early"]
    for share in LATER:
        assert abouts("good", share) == ["learns"], share
        assert first("good", share).level == "good"


@pytest.mark.parametrize("name", ["good", "spike", "flat", "dpo", "grpo"])
def test_runs_in_which_nothing_is_wrong_are_not_called_wrong(name: str) -> None:
    for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        assert not [one for one in advise(recorded(name, share)) if one.level in ("bad", "warning")], share


def test_a_learning_rate_that_is_too_high() -> None:
    for share in LATER:
        advice = first("rate-too-high", share)
        assert advice.about in ("overshot", "climbs"), share
        assert "learning rate is too high" in advice.words
    assert first("rate-too-high", 0.3).action == "stop"
    assert "3e-02" in first("rate-too-high", 0.3).words  # a third of 0.08


def test_a_learning_rate_that_is_too_low() -> None:
    for share in LATER:
        advice = first("rate-too-low", share)
        assert advice.about == "barely moves"
        assert "1e-06 is low" in advice.words
        assert "2e-04 is usual" in advice.words


def test_learning_by_heart_since_a_step() -> None:
    assert "overfits" not in abouts("overfits", 0.1)
    for share in LATER:
        assert "since step 50" in first("overfits", share).words, share
    assert "stopping now saves $1.00" in first("overfits", 0.5).words
    assert "saves" not in first("overfits", 0.95).words  # there is hardly anything left to save


def test_one_odd_row_is_told_while_it_is_recent() -> None:
    assert abouts("spike", 0.3) == ["spike", "learns"]
    assert "step 50" in first("spike", 0.3).words
    assert "spike" not in abouts("spike", 0.9)


def test_a_training_loss_that_stands_still_without_held_out_rows() -> None:
    advice = first("by-heart", 0.7)
    assert advice.about == "flat"
    assert "Stopping now would save $0.60." in advice.words


def test_held_out_loss_that_stands_still() -> None:
    told = recorded("flat", 0.5)
    flat = replace(told, held_out=[*told.held_out, *((told.step + i, 0.1201 + 0.0001 * i) for i in range(5))])
    flat = replace(flat, held_out=[(step, max(value, 0.12)) for step, value in flat.held_out])
    advice = advise(flat)[0]
    assert advice.about == "flat"
    assert "Stopping now would save $1.00." in advice.words


def test_pairs_and_rewards() -> None:
    assert "100 % of the pairs" in first("dpo").words
    assert abouts("grpo", 1.0) == ["rewards rise"]
    same = replace(recorded("grpo", 0.5), same_reward=[Part(step, 0.9, 1.0) for step in range(16)])
    assert advise(same)[0].about == "same reward"


def test_a_loss_that_is_no_number_or_zero() -> None:
    told = recorded("good")
    at = told.loss[20].x
    nans = [Part(part.x, math.nan, -math.inf, True) for part in told.loss[20:]]
    broken = replace(told, loss=(*told.loss[:20], *nans), broken_since=at)
    assert advise(broken)[0].about == "not a number"
    assert f"since step {at:,.0f}" in advise(broken)[0].words
    nothing = replace(told, loss=tuple(Part(part.x, 0.0, 0.0) for part in told.loss), held_out=())
    assert "no token to learn from" in advise(nothing)[0].words


def test_memory_and_a_card_that_waits() -> None:
    told = replace(recorded("good", 0.5), memory=(23.4, 24.0), busy=31.0)
    assert [advice.about for advice in advise(told)] == ["memory", "waits", "learns"]
    assert "0.6 of 24.0 GiB are free" in advise(told)[0].words
    assert "31 %" in advise(told)[1].words
    assert abouts("good", 0.5) == [one.about for one in advise(replace(told, memory=(20, 24), busy=97.0))]


def test_nothing_at_all() -> None:
    assert [advice.about for advice in advise(Curves("sft"))] == ["early"]
    assert [advice.about for advice in advise(Curves("something newer"))] == ["early"]
