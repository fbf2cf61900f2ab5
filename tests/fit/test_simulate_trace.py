"""Traces are saved compactly, and runs are put together from steps without losing an identity."""

from __future__ import annotations

import random
from array import array

import pytest

from engine.fit.allocator_config import AllocatorConfig
from engine.fit.allocator_replay import replay
from engine.fit.simulate.extend import Irregular
from engine.fit.simulate.report import gradients
from engine.fit.simulate.runs import Reel, Step, anchors, orders, relative
from engine.fit.simulate.trace import Trace

MIB = 1 << 20


def make(first_id: int, events: list[int], marks: list[tuple[int, str]]) -> Trace:
    return Trace(first_id, array("q", events), marks, sum(event > 0 for event in events))


LOAD = make(0, [100, 50, -2], [(0, "load")])
# Two tensors that stay (the optimizer's states) are made after the mark; -1 releases one of loading.
FIRST = make(2, [10, 20, -3, 7, 8, -4], [(0, "forward"), (3, "optimizer")])


def later(first_id: int, scale: int) -> Trace:
    return make(
        first_id,
        [10 * scale, 20 * scale, -first_id - 1, 5, -first_id - 3, -first_id - 2],
        [(0, "forward"), (3, "optimizer")],
    )


def opening(length: int) -> Step:
    return relative(FIRST, length, 2, later(100, 1))


def reel(*lengths: int) -> Reel:
    steps = {length: relative(later(100 * length, length), length, 2) for length in lengths}
    return Reel(LOAD, opening(lengths[0]), steps)


def test_a_trace_comes_back_from_bytes() -> None:
    source = random.Random(5)
    events: list[int] = []
    live: list[int] = []
    for _ in range(5000):
        if live and source.random() < 0.5:
            events.append(-live.pop(source.randrange(len(live))) - 1)
        else:
            live.append(1000 + sum(event > 0 for event in events))
            events.append(source.randrange(1, 1 << 34))
    trace = make(1000, events, [(0, "load"), (77, "forward")])
    again = Trace.from_bytes(trace.to_bytes())
    assert again == trace


def test_repeating_traces_are_small() -> None:
    layer = [4096, 8192, 4096]
    events: list[int] = []
    for number in range(2000):
        events += layer
        events += [-(3 * number + index) - 1 for index in range(3)]
    assert len(make(0, events, []).to_bytes()) < len(events)


def test_rows_name_the_phase() -> None:
    rows = list(FIRST.rows())
    assert [(row.kind, row.identity, row.bytes, row.phase) for row in rows] == [
        ("alloc", 2, 10, "forward"),
        ("alloc", 3, 20, "forward"),
        ("free", 2, 10, "forward"),
        ("alloc", 4, 7, "optimizer"),
        ("alloc", 5, 8, "optimizer"),
        ("free", 3, 20, "optimizer"),
    ]


def test_a_run_opens_with_the_first_steps_optimizer_and_goes_on_with_later_steps() -> None:
    film = reel(1).run((1, 1))
    assert list(film.events) == [
        *(100, 50, -2),
        *(10, 20, -3),  # identities 2 and 3
        *(7, 8, -4),  # the states, 4 and 5
        *(10, 20, -7, 5, -9, -8),
    ]
    assert film.names == ["load", "forward", "optimizer", "forward", "optimizer"]
    assert film.cuts == [3, 6, 9, 12]
    assert [name for name, _, _ in film.sections()] == film.names
    assert replay(film.events).allocated == 3 * 512


def test_the_first_step_can_have_any_length() -> None:
    film = reel(4, 2).run((2, 4))
    assert list(film.events)[3:9] == [20, 40, -3, 7, 8, -4]


def test_lengths_between_recorded_ones_are_interpolated() -> None:
    film = reel(4, 2).run((4, 3))
    assert list(film.events)[9:] == [30, 60, -7, 5, -9, -8]


def test_a_shorter_length_than_any_recorded_counts_as_the_shortest() -> None:
    assert list(reel(4, 2).at(1).events) == [20, 40, -1, 5, -3, -2]


def test_steps_that_do_other_things_are_not_mixed() -> None:
    unlike = make(0, [40, 80, -1, -2], [(0, "forward"), (3, "optimizer")])
    mixed = Reel(LOAD, opening(4), {4: relative(unlike, 4, 0), 2: reel(2).steps[2]})
    assert list(mixed.at(3).events) == [40, 80, -1, -2]


def test_what_a_step_leaves_behind_does_not_pile_up() -> None:
    leaky = make(50, [10, 20, -51], [(0, "forward"), (3, "optimizer")])
    recorded = Reel(LOAD, opening(1), {1: relative(leaky, 1, 2)})
    once, thrice = recorded.run((1, 1)), recorded.run((1, 1, 1, 1))
    assert replay(once.events).allocated == replay(thrice.events).allocated


def test_releases_of_loading_survive_and_those_of_other_steps_do_not() -> None:
    step = relative(make(10, [5, -1, -8, -11], []), 1, 2)
    assert len(step.events) == 3
    film = Reel(LOAD, opening(1), {1: step}).run((1, 1))
    assert list(film.events)[-3:] == [5, -1, -7]


def test_what_the_loop_still_holds_is_released_by_the_next_step() -> None:
    # Outputs of 30 bytes stay bound until the next step has its own.
    first = make(2, [10, 30, -3, 7], [(0, "forward"), (3, "optimizer")])
    second = make(5, [10, 30, -4, -6], [(0, "forward"), (4, "optimizer")])
    recorded = Reel(LOAD, relative(first, 1, 2, second), {1: relative(second, 1, 2)})
    assert recorded.first.left == (1,), "the state of 7 bytes stays for good"
    assert list(recorded.run((1, 1)).events)[3:] == [10, 30, -3, 7, 10, 30, -4, -6, -7]
    assert replay(recorded.run((1, 1, 1)).events).peak_allocated == 5 * 512


def test_a_loop_that_empties_the_cache_starts_each_batch_without_it() -> None:
    steps = {n: Step(n, array("q", [n * MIB, -1]), ((0, "forward"),), 2, 1, 1, ()) for n in (30, 40)}
    for empties, kept in ((False, 70), (True, 40)):
        film = Reel(make(0, [], []), steps[30], steps, empties_cache=empties).run((30, 40))
        usage = replay(film.events, None, None, film.cuts, film.empties)
        assert usage.peak_reserved == kept * MIB


def test_gradients_are_what_the_backward_pass_leaves() -> None:
    step = relative(
        make(0, [1, 2, 3, 4, -2, -1, -5, 9], [(0, "forward"), (2, "backward"), (6, "optimizer")]), 1, 0
    )
    assert gradients(step) == [3, 4]


def test_anchors_hold_the_longest_the_shortest_and_the_bend() -> None:
    assert anchors((), 2048, 2) == (2048,)
    assert anchors((2048, 2048), 2048, 2) == (2048,)
    assert anchors((100, 300), 2048, 2) == (2048, 300, 100)
    assert anchors((100, 1500, 3000, 2900), 3000, 2) == (3000, 2900, 1500, 100)
    assert anchors(tuple(range(100, 3001, 100)), 3000, 2) == (3000, 2049, 1500, 100)
    assert anchors(tuple(range(100, 1001, 100)), 1000, 2) == (1000, 700, 500, 100)


def test_orders_have_the_longest_batch_in_each() -> None:
    assert orders((), 512, 8, (0, 1)) == [(512, 512, 512)]
    found = orders((10, 20, 30, 512), 512, 6, (0, 1, 2))
    assert len(found) == 4
    assert all(512 in order for order in found)
    assert all(len(order) == 6 for order in found[1:])
    assert found[0] == (512, 512, 30, 20, 10)
    assert found == orders((10, 20, 30, 512), 512, 6, (0, 1, 2))


def test_growing_lengths_fragment_and_falling_ones_do_not() -> None:
    steps = {}
    for length in (1, 2, 3, 4):
        size = (8 + 4 * length) * MIB
        steps[length] = Step(length, array("q", [size, 2 * size, -1, -2]), ((0, "forward"),), 4, 2, 2, ())

    def reserved(order: tuple[int, ...], config: AllocatorConfig | None = None) -> tuple[int, int]:
        recorded = Reel(make(0, [], []), steps[order[0]], steps)
        usage = replay(recorded.run(order).events, config)
        return usage.peak_allocated // MIB, usage.peak_reserved // MIB

    assert reserved((4, 3, 2, 1)) == (72, 72)
    # 12 + 24, then 16 in the 24 and a new 32, then 20 in the 32 and a new 40, then 24 in its own and a new 48.
    assert reserved((1, 2, 3, 4)) == (72, 12 + 24 + 32 + 40 + 48)
    assert reserved((1, 2, 3, 4), AllocatorConfig(expandable_segments=True)) == (72, 80)


def test_a_step_that_releases_twice_is_not_replayed() -> None:
    good = reel(1)
    good.check()
    for events in ([10, -1, -1], [-1, 10]):
        broken = Step(1, array("q", events), ((0, "forward"),), 3, 1, 1, ())
        with pytest.raises(Irregular):
            Reel(LOAD, opening(1), {1: broken}).check()
