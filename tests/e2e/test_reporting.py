"""Curves that go to another program as well, through its real package where it is installed here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_DATA, DEMO_RECIPE
from engine.config.loading import load
from tests.e2e import in_process

pytestmark = pytest.mark.slow

SHORT = {"train": f"{DEMO_DATA}#16", "max_steps": "2", "eval_steps": "2", "sample_prompts": "[]"}


def written(folder: Path) -> Iterator[Any]:
    """The events in TensorBoard's files: each record is a length, a checksum, a message, a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in folder.glob("events.out.*"):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length


def test_tensorboard_gets_the_same_numbers_and_nothing_is_reported_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorboardX")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # so that what the trainer sets is forgotten afterwards
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR")
    silent = in_process.train_config(load(DEMO_RECIPE, SHORT))
    assert silent.config.watch.report_to == []
    assert not (silent.run.path / "tensorboard").exists()
    done = in_process.train_config(load(DEMO_RECIPE, {**SHORT, "report_to": "tensorboard"}))
    found = {
        (value.tag, event.step): value.simple_value
        for event in written(done.run.path / "tensorboard")
        for value in event.summary.value
    }
    for point in done.of("metric"):
        assert found["train/loss", point["step"]] == pytest.approx(point["loss"], rel=1e-6)
    for evaluation in done.of("evaluation"):
        assert found["eval/loss", evaluation["step"]] == pytest.approx(evaluation["eval_loss"], rel=1e-6)
    assert done.measured("eval_loss") == silent.measured("eval_loss")
