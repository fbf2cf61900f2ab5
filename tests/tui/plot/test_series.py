"""Series: constant memory, nothing important lost."""

from __future__ import annotations

import math
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.plot import Series

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


def size_in_bytes(series: Series) -> int:
    return sum(sys.getsizeof(v) for v in vars(series).values() if isinstance(v, array))


def test_a_spike_among_a_million_points_survives_in_constant_memory() -> None:
    series = Series("loss")
    for step in range(2048):
        series.append(step, 1.0)
    full = size_in_bytes(series)
    for step in range(2048, 1_000_000):
        series.append(step, 250.0 if step == 600_001 else 1.0)

    assert len(series) <= 2048
    assert size_in_bytes(series) <= 1.2 * full
    spiked = [b for b in series.window() if b.high > 1]
    assert len(spiked) == 1
    assert spiked[0].high == 250
    assert spiked[0].x0 <= 600_001 <= spiked[0].x1
    assert (series.first_x, series.last_x, series.max) == (0, 999_999, 250)


def test_few_points_are_kept_as_they_are() -> None:
    series = Series("loss")
    for step in range(100):
        series.append(step, step / 2)
    assert [(b.x0, b.mean, b.n) for b in series.window()] == [(i, i / 2, 1) for i in range(100)]


@given(st.lists(ANY_FLOAT, max_size=200), st.sampled_from([2, 4, 16]))
def test_buckets_together_say_what_the_points_said(values: list[float], capacity: int) -> None:
    series = Series("y", capacity)
    for x, y in enumerate(values):
        series.append(x, y)
    finite = [y for y in values if abs(y) <= 1e300]
    buckets = list(series.window())
    assert len(buckets) <= capacity
    assert sum(b.n for b in buckets) == len(finite)
    assert sum(b.bad for b in buckets) == len(values) - len(finite)
    assert series.min == min(finite, default=None)
    assert series.max == max(finite, default=None)
    for b in buckets:
        if b.n:
            inside = [y for x, y in enumerate(values) if b.x0 <= x <= b.x1 and abs(y) <= 1e300]
            assert (b.low, b.high) == (min(inside), max(inside))
            assert b.low <= b.mean <= b.high
            assert b.mean == pytest.approx(math.fsum(inside) / len(inside), abs=1e-9 * max(map(abs, inside)))
        else:
            assert math.isnan(b.mean)
    if values:
        assert series.last == values[-1] or (math.isnan(values[-1]) and math.isnan(series.last or 0))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=100), st.floats(0, 100))
def test_truncation_leaves_nothing_after_x_and_little_less_before(values: list[float], x: float) -> None:
    series = Series("y", 16)
    for step, y in enumerate(values):
        series.append(step, y)
    stride = series.stride
    series.truncate_after(x)
    assert series.last_x is None or series.last_x <= x
    kept = sum(b.n for b in series.window())
    assert kept >= min(len(values), math.floor(x) + 1) - stride


def test_a_resumed_run_draws_its_steps_again() -> None:
    series = Series("loss")
    for step in range(1, 121):
        series.append(step, 5.0)
    series.truncate_after(100)
    assert (series.last_x, series.last) == (100, 5.0)
    for step in range(101, 111):
        series.append(step, 1.0)
    assert [b.x0 for b in series.window()] == list(range(1, 111))
    assert (series.last, series.min) == (1.0, 1.0)
    series.truncate_after(0)
    assert not series
    assert (series.last, series.last_x, series.first_x, series.min, series.max) == (None,) * 5


def test_every_change_is_seen_in_the_revision() -> None:
    series = Series("loss")
    seen = [series.revision]
    for change in (
        lambda: series.append(1, 2.0),
        lambda: series.append(2, math.nan),
        lambda: series.truncate_after(1),
    ):
        change()
        seen.append(series.revision)
    assert len(set(seen)) == 4
    series.truncate_after(1)
    assert series.revision == seen[-1]


def test_time_never_runs_backwards_and_a_point_without_place_is_ignored() -> None:
    series = Series("loss")
    for x, y in ((5.0, 1.0), (3.0, 2.0), (math.nan, 3.0), (math.inf, 4.0), (6.0, 5.0)):
        series.append(x, y)
    assert [(b.x0, b.last) for b in series.window()] == [(5, 1), (5, 2), (6, 5)]


def test_window_and_value_at_x() -> None:
    series = Series("loss")
    for step in range(0, 100, 10):
        series.append(step, step)
    assert [b.x0 for b in series.window(25, 50)] == [30, 40, 50]
    assert [series.at(x).last if series.at(x) else None for x in (-1, 0, 34, 1000)] == [None, 0, 30, 90]  # type: ignore[union-attr]


def test_columns_cover_every_point_once() -> None:
    series = Series("loss")
    for step in range(1000):
        series.append(step, step)
    parts = series.columns(0, 999, 7)
    assert sum(part.n for part in parts if part) == 1000
    assert [part.low for part in parts if part] == sorted(part.low for part in parts if part)
    assert Series("none").columns(0, 1, 3) == [None] * 3


@pytest.mark.parametrize("capacity", [0, 1, 7])
def test_a_capacity_that_cannot_be_halved_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="even"):
        Series("y", capacity)
