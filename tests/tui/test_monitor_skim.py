"""A long history is shown at once, from samples, and then completely."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.tui.made_runs import MadeRun
from tui.monitor import skim as skimming
from tui.monitor.skim import skim
from tui.monitor.watch import Watch

STEPS = 30_000
SPIKE = 21_001


@pytest.fixture
def long_run() -> MadeRun:
    made = MadeRun("owl", STEPS)
    made.begin()
    made.train()
    line = '{{"v":1,"seq":{0},"t":{1},"attempt":1,"kind":"metric","step":{2},"max_steps":30000,"loss":{3},"learning_rate":1e-4}}\n'
    with open(made.run.events, "a", encoding="utf-8") as file:
        for step in range(1, STEPS + 1):
            file.write(line.format(step + 5, made.clock() + step, step, 9.0 if step == SPIKE else 1.5))
            if step % 1000 == 0:
                file.write("garbage \x00 {\n" + "[1, 2]\n")
    return made


def test_samples_come_from_the_whole_length_in_order(long_run: MadeRun) -> None:
    events = skim(long_run.run.events)
    steps = [event["step"] for event in events if event["kind"] == "metric"]
    assert events[0]["kind"] == "phase"
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    assert steps[-1] == STEPS
    assert len(steps) < STEPS / 5
    gaps = [b - a for a, b in pairwise(steps)]
    assert max(gaps) < STEPS / 100


def test_a_short_file_and_none_are_not_sampled(long_run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    assert skim(long_run.run.path / "missing.jsonl") == []
    monkeypatch.setattr(skimming, "WORTH_IT", 1 << 40)
    assert skim(long_run.run.events) == []


def test_the_whole_curve_is_there_after_the_first_look_and_every_step_in_the_end(long_run: MadeRun) -> None:
    watch = Watch(long_run.run)
    watch.read()
    assert watch.model.loss.first_x == 1
    assert watch.model.loss.last_x == STEPS
    assert watch.model.progress.max_steps == STEPS
    assert watch.share_read == 0.0
    assert watch.behind
    while watch.behind:
        assert watch.model.loss.last_x == STEPS, "the picture does not fall back"
        watch.read()
    assert watch.share_read is None
    assert watch.model.loss.max == 9.0
    peak = watch.model.loss.at(SPIKE)
    assert peak is not None
    assert peak.high == 9.0
    assert sum(bucket.n for bucket in watch.model.loss.window()) == STEPS
    long_run.step(STEPS + 1)
    watch.read()
    assert watch.model.loss.last_x == STEPS + 1
    assert watch.bad_lines == 60
