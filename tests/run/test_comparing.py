"""Numbers of runs side by side, and the rule that ends the worse half early."""

from __future__ import annotations

import json
import math

import pytest

from engine.cli.main import main
from engine.config.draft import DEMO_RECIPE, prepare
from engine.config.loading import load
from engine.run import atomic, layout
from engine.run.comparing import differing, result_of
from engine.run.events import EventWriter
from engine.run.halving import at_rung, goes_on
from engine.run.layout import RunDir


def made(name: str, losses: dict[int, float], settings: dict[str, str], price: float | None = None) -> RunDir:
    """A run as the trainer would have left it: an hour long, one evaluation every ten steps."""
    plan = prepare(load(DEMO_RECIPE, settings), None, name)
    run = layout.create(name)
    run.config.write_text(plan.yaml)
    atomic.write_json(run.launch, {"price_per_hour": price})
    clock = iter(range(0, 10_000, 600))
    writer = EventWriter(run.events, 1, clock=lambda: 1_000_000.0 + next(clock))
    writer.emit("phase", phase="training", words="Training.", step=0, max_steps=30)
    for step, loss in losses.items():
        best = loss == min(value for at, value in losses.items() if at <= step)
        writer.metric(step=step, max_steps=30, loss=loss, tokens_per_second=100.0 + step)
        writer.emit("memory", gpus=[], process_rss=2**30 + step)
        writer.emit("evaluation", step=step, eval_loss=loss + 0.5, best_by="eval_loss", best=best)
    writer.emit("finished", outcome="completed", step=30, words="Training is complete.")
    writer.close()
    return run


def test_a_result_is_the_sum_of_its_events() -> None:
    run = made("one", {10: 1.0, 20: 0.5, 30: 0.7}, {}, price=3.0)
    result = result_of(run)
    assert (result.best, result.best_step, result.eval_loss, result.loss) == (1.0, 20, 1.2, 0.7)
    assert result.tokens_per_second == 120.0
    assert (result.peak_memory, result.memory_of) == (2**30 + 30, "RAM")
    assert result.seconds > 3600
    assert result.price == pytest.approx(3.0 * result.seconds / 3600)


def test_steps_that_are_trained_again_count_once() -> None:
    run = made("cut", {10: 1.0, 20: 0.1}, {})
    writer = EventWriter(run.events, 2, clock=lambda: 2_000_000.0)
    writer.emit("phase", phase="resuming", words="Going on.", step=10, resumed_from=10)
    writer.close()
    result = result_of(run)
    assert (result.best, result.best_step, result.loss) == (1.5, 10, 1.0)


def test_the_table_is_narrow_and_names_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    made("a-run-with-quite-a-long-name-indeed-1", {10: 1.0, 20: 0.5}, {"lora_r": "8"}, 2.0)
    made("b", {10: 0.9, 20: 0.3}, {"lora_r": "32", "tuning": "lora", "learning_rate": "1e-4"})
    assert main(["runs", "--compare", "a-run-with-quite-a-long-name-indeed-1", "b"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert all(len(line) <= 80 for line in lines)
    heads = " ".join(line for line in lines if line.startswith("run"))
    for word in ("lora_r", "learning_rate", "best eval_loss", "time", "tokens/s", "peak memory", "price"):
        assert word in heads
    assert "max_length" not in heads
    assert lines[1].split()[:4] == ["b", "1e-04", "0.8000", "20"] or lines[1].split()[:2] == ["b", "32"]
    assert "0.8000" in lines[1]  # the better one first
    assert main(["runs", "--compare", "b", "a-run-with-quite-a-long-name-indeed-1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["settings"]["lora_r"] for one in told] == [32, 8]
    assert told[0]["best"] == 0.8
    assert main(["runs", "--compare", "b", "nothing"]) == 2


def test_differing_settings_keep_their_order() -> None:
    assert differing({"a": {"x": 1, "y": 2, "z": 3}, "b": {"x": 1, "y": 3}}) == ["y", "z"]
    assert differing({"a": {"x": 1}}) == []


def test_a_rung_is_the_first_evaluation_there() -> None:
    values = {0: 9.0, 20: 5.0, 30: 4.0, 60: 3.0}
    assert at_rung(values, 100, 0.25) == 4.0
    assert at_rung(values, 100, 0.5) == 3.0
    assert at_rung({0: 9.0, 60: 3.0}, 100, 0.25) is None
    assert at_rung({}, 0, 0.25) is None


def test_the_better_half_goes_on() -> None:
    assert goes_on(5.0, [], False)
    assert not goes_on(2.0, [1.0], False)
    assert goes_on(1.0, [1.0], False)
    assert goes_on(2.0, [1.0, 3.0], False)
    assert not goes_on(4.0, [1.0, 3.0], False)
    assert goes_on(0.9, [0.5, 0.8, 0.95], True)
    assert not goes_on(math.nan, [9.0], False)
