"""The tape of tensors, on sequences counted by hand."""

from __future__ import annotations

import pytest

from engine.fit.tape import GRANULE, Tape, Value

MIB = 1 << 20


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        (0, 0),
        (1, 512),
        (513, 1024),
        (10 * MIB + 1, 10 * MIB + 512),  # the segment's end of nearly 2 MiB becomes a block of its own
        (11 * MIB, 12 * MIB),  # an end of 1 MiB is not split off
        (11 * MIB - 512, 11 * MIB - 512),
        (12 * MIB, 12 * MIB),
        (2 * MIB, 2 * MIB),  # ten fill a segment of 20 MiB
        (19 * MIB // 2, 10 * MIB),  # two leave 1 MiB, which counts with them
        (6 * MIB, 6 * MIB),  # three leave 2 MiB, which others can have
    ],
)
def test_sizes_are_rounded_as_the_allocator_rounds(asked: int, taken: int) -> None:
    tape = Tape()
    tape.new(asked, "x")
    assert tape.now == tape.peak == taken


def test_memory_is_released_with_its_last_holder() -> None:
    tape = Tape()
    buffer = tape.new(GRANULE, "x")
    tape.hold(buffer)
    tape.drop(buffer)
    assert tape.now == GRANULE
    tape.drop(buffer)
    assert (tape.now, tape.peak) == (0, GRANULE)


def test_a_chain_of_two_products() -> None:
    # y = x * 2 keeps nothing, z = y ** 2 keeps y.
    tape = Tape()
    x = Value(tape.new(1024, "input"), 1024, True)
    y = tape.operation([(x, "new")], 1024, "y")
    z = tape.operation([(y, "new")], 1024, "z", [y.buffer])
    tape.release(y, z)
    assert tape.now == 2 * 1024  # x, and y for the backward pass
    tape.backward(z, tape.new(1024, "gradient"))
    # In the backward pass of z: x, y, the incoming gradient and the one of y.
    assert tape.peak == 4 * 1024
    assert tape.parts == {
        "input": 1024,
        "y": 1024,
        "z": 0,
        "gradient": 1024,
        "gradients of activations": 1024,
    }
    assert tape.now == 2 * 1024  # x and its gradient
    assert x.grad is not None


def test_two_gradients_are_added_in_place_where_nobody_else_holds_them() -> None:
    tape = Tape()
    x = Value(tape.new(1024, "input"), 1024, True)
    parts = [tape.operation([(x, "new")], 512, "part") for _ in range(2)]
    joined = tape.operation([(part, "new") for part in parts], 512, "joined")
    tape.release(*parts, joined)
    tape.backward(joined, tape.new(512, "gradient"))
    # x, the gradients of x made so far and now, and the incoming one of the second part.
    assert tape.peak == 1024 + 1024 + 1024 + 512
    assert tape.now == 2 * 1024


def test_a_gradient_that_is_still_held_is_not_added_to() -> None:
    # A residual connection: the gradient of the sum is passed on to x as it is, and held by the layer above.
    tape = Tape()
    x = Value(tape.new(1024, "input"), 1024, True)
    branch = tape.operation([(x, "new")], 1024, "branch")
    total = tape.operation([(x, "same"), (branch, "same")], 1024, "sum")
    tape.release(branch, total)
    grad = tape.new(1024, "gradient")
    tape.hold(grad)
    tape.backward(total, grad)
    # x, the incoming gradient, the branch's gradient of x, and a third for the sum of both.
    assert tape.peak == 4 * 1024
    tape.drop(grad)
    assert tape.now == 2 * 1024


def test_without_learning_nothing_is_kept() -> None:
    tape = Tape(learning=False)
    x = Value(tape.new(1024, "input"), 1024, True)
    y = tape.operation([(x, "new")], 1024, "y", [x.buffer], trained=True)
    tape.release(x, y)
    assert tape.now == 0
    assert not y.wants_grad
    assert tape.operations == []


def test_events_are_numbered_and_paired() -> None:
    tape = Tape(record=True)
    first = tape.new(1, "x")
    second = tape.new(600, "x")
    tape.drop(first)
    tape.drop(second)
    assert tape.events == [(1, 512), (2, 1024), (1, -512), (2, -1024)]


def test_the_allocator_sees_blocks_without_their_share_of_a_segments_end() -> None:
    tape = Tape(record=True)
    tape.new(19 * MIB // 2, "x")
    assert (tape.now, tape.events) == (10 * MIB, [(1, 19 * MIB // 2)])
