"""Axes: round numbers, short labels, and few moves."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tui.plot.axis import (
    Limits,
    YAxis,
    domain_end,
    nice_limits,
    number_labels,
    short_number,
    short_time,
    x_ticks,
    x_window,
)

VALUES = st.floats(-1e300, 1e300)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.83, 2.11, ["0.8", "1.6", "2.4"]),
        (0, 10, ["0", "5", "10"]),
        (1.02, 11.3, ["0", "6", "12"]),
        (0, 23.9, ["0", "12", "24"]),
        (-3.1, -0.2, ["-3.4", "-1.8", "-0.2"]),
        (-1, 1, ["-1", "0", "1"]),
        (0, 3104, ["0", "1600", "3200"]),
        (0, 2e-4, ["0", "1e-4", "2e-4"]),
        (0, 5.1e9, ["0", "3B", "6B"]),
    ],
)
def test_limits_are_round_numbers_with_short_labels(low: float, high: float, labels: list[str]) -> None:
    limits = YAxis().fit(low, high)
    assert limits.low <= low < high <= limits.high
    assert limits.labels(2) == labels


@given(VALUES, VALUES, st.sampled_from([1, 2, 4]))
def test_limits_hold_the_data_and_waste_little(a: float, b: float, divisions: int) -> None:
    low, high = min(a, b), max(a, b)
    limits = YAxis().fit(low, high, divisions)
    slack = 1e-6 * (limits.high - limits.low)
    assert limits.low - slack <= low
    assert high <= limits.high + slack
    assert all(len(label) <= 10 for label in limits.labels(divisions))
    if high - low > 2e-3 * max(abs(low), abs(high), 1e-290):
        assert high - low >= 0.5 * (limits.high - limits.low)


@given(st.floats(1e-299, 1e300), st.floats(1e-299, 1e300))
def test_logarithmic_limits_hold_the_data(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    limits = YAxis().fit(low, high, log=True)
    assert 0 < limits.low <= low
    assert high <= limits.high * (1 + 1e-9)
    assert 0 <= limits.fraction(a) <= 1
    assert limits.value(limits.fraction(a)) == pytest.approx(a, rel=1e-6)


@given(VALUES, VALUES, VALUES)
def test_fraction_and_value_are_inverse(a: float, b: float, y: float) -> None:
    assume(b - a > 1e-9 * max(abs(a), abs(b), 1e-290))
    limits = Limits(a, b)
    assert 0 <= limits.fraction(y) <= 1
    if a <= y <= b:
        assert limits.value(limits.fraction(y)) == pytest.approx(y, abs=1e-9 * max(abs(a), abs(b)))


def test_limits_stay_until_data_leave_them_or_they_are_far_too_loose() -> None:
    axis = YAxis()
    first = axis.fit(0.8, 2.3)
    assert axis.fit(0.8, 2.1) is first
    assert axis.fit(1.0, 2.0) is first
    wider = axis.fit(0.8, 2.6)
    assert wider.high > 2.7, "there is room for the next step up"
    assert axis.fit(0.8, 2.7) is wider
    assert axis.fit(0.9, 1.2).high < 2
    assert axis.fit(0.9, 1.2, log=True).log
    assert not axis.fit(0.9, 1.2).log


def test_positive_values_never_get_a_negative_axis() -> None:
    axis = YAxis()
    for low in (2.0, 1.0, 0.5, 0.2, 0.1, 0.01):
        assert axis.fit(low, 2.5).low >= 0


def test_labels_divide_evenly_into_four_parts() -> None:
    assert nice_limits(0.81, 2.26, 4).labels(4) == ["0.8", "1.2", "1.6", "2.0", "2.4"]


def test_x_grows_by_a_quarter_up_to_the_end_of_the_run() -> None:
    ends = [domain_end(step) for step in range(1, 10_001)]
    moves = sorted(set(ends))
    assert moves[0] == 10
    assert all(b / a == pytest.approx(1.25) for a, b in pairwise(moves))
    assert all(end >= step for step, end in enumerate(ends, 1))
    assert domain_end(412, 1128) == pytest.approx(10 * 1.25**17)
    assert domain_end(950, 1128) == 1128
    assert domain_end(1200, 1128) > 1200


def test_zoom_shows_the_last_part_and_slides_in_quarters() -> None:
    windows = {x_window(1, last, 1000, zoom=0.2) for last in range(900, 1001)}
    assert windows == {(700, 900), (750, 950), (800, 1000)}
    assert x_window(1, 900, 1000, zoom=1) == (0, 1000)
    assert x_window(1, 3, 1000, zoom=0.1) == (2, 3)


@pytest.mark.parametrize(
    ("x1", "width", "unit", "labels"),
    [
        (500, 60, "number", ["0", "100", "200", "300", "400", "500"]),
        (2000, 48, "number", ["0", "500", "1000", "1500", "2000"]),
        (120_000, 40, "number", ["0", "50k", "100k"]),
        (10, 100, "number", ["0", "2", "4", "6", "8", "10"]),
        (100, 50, "seconds", ["0", "30s", "1m", "1m30"]),
        (5400, 40, "seconds", ["0", "30m", "1h", "1h30"]),
        (400_000, 40, "seconds", ["0", "2d", "4d"]),
    ],
)
def test_x_ticks(x1: float, width: int, unit: str, labels: list[str]) -> None:
    ticks = x_ticks(0, x1, width, unit)  # type: ignore[arg-type]
    assert [label for _, label in ticks] == labels
    assert all(0 <= x <= x1 for x, _ in ticks)


@given(VALUES, VALUES, st.integers(1, 300), st.sampled_from(["number", "seconds"]))
def test_ticks_are_few_and_inside(a: float, b: float, width: int, unit: str) -> None:
    x0, x1 = min(a, b), max(a, b)
    assume(x1 - x0 > 1e-9 * max(1, abs(x0)))
    ticks = x_ticks(x0, x1, width, unit)  # type: ignore[arg-type]
    assert len(ticks) <= 21
    slack = 1e-6 * max(x1 - x0, 1)
    assert all(x0 - slack <= x <= x1 + slack for x, _ in ticks)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.8, "0.8"),
        (12.44, "12.4"),
        (-1.5, "-1.5"),
        (999, "999"),
        (1234, "1.23k"),
        (3.1e6, "3.1M"),
        (2e-4, "2e-4"),
        (1.25e-7, "1.25e-7"),
        (1e300, "1e300"),
        (5e-324, "4.94e-324"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_short_numbers(value: float, shown: str) -> None:
    assert short_number(value) == shown


def test_labels_of_one_axis_are_alike() -> None:
    assert number_labels([0.8, 1.6, 2.4]) == ["0.8", "1.6", "2.4"]
    assert number_labels([0, 1.25, 2.5]) == ["0", "1.25", "2.50"]
    assert number_labels([0, 2.5e4, 5e4]) == ["0", "25k", "50k"]
    assert number_labels([]) == []


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0"),
        (45, "45s"),
        (300, "5m"),
        (90, "1m30"),
        (3600, "1h"),
        (5400, "1h30"),
        (216000, "2d12"),
        (-60, "-1m"),
    ],
)
def test_short_times(seconds: float, shown: str) -> None:
    assert short_time(seconds) == shown
