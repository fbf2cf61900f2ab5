"""The event stream: order, rate, torn lines, hostile bytes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from engine.run.events import EventReader, EventWriter, expand, number, tail_events, whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_is_versioned_and_numbered(path: Path) -> None:
    writer = EventWriter(path, clock=lambda: 12.3456)
    writer.emit("phase", phase="loading")
    writer.emit("warning", words="careful")
    assert lines(path) == [
        {"v": 1, "seq": 1, "t": 12.346, "attempt": 1, "kind": "phase", "phase": "loading"},
        {"v": 1, "seq": 2, "t": 12.346, "attempt": 1, "kind": "warning", "words": "careful"},
    ]


def test_fast_metrics_share_lines_and_lose_nothing(path: Path) -> None:
    writer = EventWriter(path)
    for step in range(500):
        writer.metric(step=step, loss=1.0 / (step + 1))
    writer.close()
    written = lines(path)
    assert len(written) < 10
    points = [point for event in written for point in expand(event)]
    assert [point["step"] for point in points] == list(range(500))
    assert all(point["kind"] == "metric" for point in points)


def test_other_kinds_come_after_the_metrics_before_them(path: Path) -> None:
    writer = EventWriter(path)
    writer.metric(step=1, loss=1.0)
    writer.metric(step=2, loss=0.5)
    writer.emit("checkpoint", step=2)
    points = [(point["kind"], point["step"]) for event in lines(path) for point in expand(event)]
    assert points == [("metric", 1), ("metric", 2), ("checkpoint", 2)]


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_non_finite_numbers_are_strings_that_read_back(path: Path, value: float, text: str) -> None:
    EventWriter(path).emit("metric", loss=value, nested={"a": [value]})
    event = lines(path)[0]
    assert event["loss"] == text
    assert event["nested"] == {"a": [text]}
    back = number(event["loss"])
    assert back is not None
    assert math.isnan(back) if math.isnan(value) else back == value


def test_reader_keeps_a_torn_line_until_its_rest_arrives(path: Path) -> None:
    reader = EventReader(path)
    path.write_bytes(b'{"kind":"phase","n":1}\n{"kind":"ph')
    assert [event["n"] for event in reader.read()] == [1]
    with open(path, "ab") as handle:
        handle.write(b'ase","n":2}\n')
    assert [event["n"] for event in reader.read()] == [2]
    assert reader.bad_lines == 0


def test_reader_counts_garbage_and_goes_on(path: Path) -> None:
    deep = b"[" * 100_000 + b"\n"
    path.write_bytes(b'\xff\xfe\x00\n{"kind":1}\n[1]\n' + deep + b'{"kind":"phase"}\n')
    reader = EventReader(path)
    assert len(reader.read()) == 1
    assert reader.bad_lines == 4


def test_reader_starts_over_when_the_file_is_replaced(path: Path) -> None:
    path.write_bytes(b'{"kind":"phase","n":1}\n{"kind":"phase","n":2}\n')
    reader = EventReader(path)
    reader.read()
    path.unlink()
    path.write_bytes(b'{"kind":"phase","n":3}\n')
    assert [event["n"] for event in reader.read()] == [3]
    assert reader.restarted


def test_reader_takes_a_long_file_in_slices(path: Path) -> None:
    path.write_bytes(b"".join(b'{"kind":"metric","step":%d}\n' % step for step in range(20_000)))
    reader = EventReader(path)
    steps: list[int] = []
    while reader.behind:
        steps += [event["step"] for event in reader.read(max_bytes=10_000)]
    assert steps == list(range(20_000))


def test_a_writer_after_a_torn_line_starts_a_new_one_and_goes_on_counting(path: Path) -> None:
    path.write_bytes(b'{"v":1,"seq":41,"kind":"phase"}\n{"v":1,"seq":42,"ki')
    EventWriter(path, attempt=2).emit("phase", phase="again")
    reader = EventReader(path)
    events = reader.read()
    assert [event["seq"] for event in events] == [41, 42]
    assert reader.bad_lines == 1


def test_a_full_disk_does_not_stop_the_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = EventWriter(path)

    def no_space(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", no_space)
    writer.emit("phase", phase="x")
    writer.metric(step=1)
    writer.flush()
    assert writer.lost_lines == 2


def test_tail_reads_only_whole_lines(path: Path) -> None:
    path.write_bytes(b"".join(b'{"kind":"metric","step":%d}\n' % step for step in range(1000)))
    events = tail_events(path, num_bytes=500)
    assert events[-1]["step"] == 999
    assert 10 < len(events) < 25


def test_a_giant_line_is_dropped_not_kept(path: Path) -> None:
    path.write_bytes(b'{"kind":"phase","n":1}\n' + b"x" * (5 << 20) + b'\n{"kind":"phase","n":2}\n')
    reader = EventReader(path)
    seen: list[int] = []
    while reader.behind:
        seen += [event["n"] for event in reader.read()]
    assert seen == [1, 2]
    assert reader.bad_lines >= 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", 10**400, "x", None, True, [1], {}])
def test_whole_numbers_that_are_none(value: object) -> None:
    assert whole(value) is None
