"""What the monitor makes of a run's events."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.display import GIB
from engine.run.events import KINDS, parse_line
from tests.tui.made_runs import CARD
from tui.monitor.model import MonitorModel


def event(kind: str, t: float = 1000.0, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    """An event as a reader gets it."""
    return {"v": 1, "seq": 1, "t": t, "attempt": attempt, "kind": kind, **fields}


def metric(step: int, loss: Any, t: float = 1000.0, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return event("metric", t, attempt, step=step, max_steps=100, loss=loss, **fields)


def fed(*events: dict[str, Any]) -> MonitorModel:
    model = MonitorModel()
    for one in events:
        model.feed(one)
    return model


def points(model: MonitorModel) -> list[tuple[float, float]]:
    return [(bucket.x0, bucket.mean) for bucket in model.loss.window()]


def test_metrics_fill_the_curves_the_earlier_ones_of_a_line_too() -> None:
    earlier = [
        {"step": 1, "loss": 3.0, "learning_rate": 1e-4},
        {"step": 2, "loss": 2.5, "learning_rate": 2e-4},
    ]
    model = fed(
        metric(3, 2.0, learning_rate=3e-4, grad_norm=0.5, epoch=0.3, tokens_per_second=900.0, earlier=earlier)
    )
    assert points(model) == [(1, 3.0), (2, 2.5), (3, 2.0)]
    assert model.learning_rate.last == 3e-4
    assert model.grad_norm.last == 0.5
    assert model.epoch == 0.3
    assert model.speed == 900.0
    assert model.first_loss == 3.0
    assert (model.progress.step, model.progress.max_steps) == (3, 100)


def test_a_loss_that_is_not_a_number_is_kept_as_such() -> None:
    model = fed(metric(1, 2.0), metric(2, "NaN"), metric(3, "Infinity"))
    assert model.loss.has_bad(0, 10)
    assert model.loss.last == math.inf
    assert model.odd_events == 0


def test_steps_after_the_checkpoint_of_a_resume_are_forgotten() -> None:
    model = fed(
        *(metric(step, float(step)) for step in range(1, 11)),
        event("evaluation", step=5, eval_loss=1.5),
        event("evaluation", step=9, eval_loss=1.0),
        event("checkpoint", step=6),
        event("checkpoint", step=9),
        event("phase", attempt=2, phase="resuming", words="Going on from step 6.", step=6, resumed_from=6),
    )
    assert points(model)[-1] == (6, 6.0)
    assert (model.best_eval, model.best_step) == (1.5, 5)
    assert list(model.checkpoints) == [6]
    assert model.progress.step == 6
    model.feed(metric(7, 70.0, attempt=2))
    assert points(model)[-1] == (7, 70.0)


def test_an_attempt_that_starts_again_without_a_checkpoint_replaces_the_curve() -> None:
    model = fed(metric(1, 1.0), metric(2, 2.0), metric(3, 3.0), metric(1, 10.0, attempt=2))
    assert points(model) == [(1, 10.0)]
    model.feed(metric(2, 20.0, attempt=2))
    assert points(model) == [(1, 10.0), (2, 20.0)]


def test_a_new_attempt_is_neither_failed_nor_training() -> None:
    model = fed(
        event("phase", phase="training", words="Training.", step=0, max_steps=10),
        event("failure", what="No space left.", where="disk", fix="Free some."),
    )
    assert model.training
    assert model.failure is not None
    assert model.failure.what == "No space left."
    model.feed(event("phase", attempt=2, phase="starting", words="Starting."))
    assert model.failure is None
    assert not model.training


def test_the_best_evaluation_is_marked() -> None:
    model = fed(
        *(event("evaluation", step=step, eval_loss=loss) for step, loss in ((0, 3.0), (10, 1.0), (20, 1.2)))
    )
    model.feed(event("evaluation", step=30, eval_loss="NaN"))
    best = [mark for mark in model.marks() if mark.kind == "best"]
    assert [(mark.x, mark.y) for mark in best] == [(10, 1.0)]
    assert model.first_eval == 3.0


def test_changes_of_settings_are_marked_but_not_requests_of_the_user() -> None:
    model = fed(
        event("change", step=7, words="batch 4 → 2: out of memory"),
        event("change", step=9, request="checkpoint", words="Request taken: checkpoint."),
    )
    assert [mark.x for mark in model.marks() if mark.kind == "change"] == [7]
    assert [note.text for note in model.notes] == [
        "batch 4 → 2: out of memory",
        "Saving a checkpoint, as asked",
    ]


def test_memory_of_a_card() -> None:
    model = fed(event("memory", gpus=[CARD], host_used=6 * GIB, host_total=64 * GIB, torch_reserved=10 * GIB))
    assert model.hardware.used.last == pytest.approx(12.4, abs=0.01)
    assert model.hardware.limit == pytest.approx(22.9, abs=0.01)
    assert model.hardware.reserved.last == 10
    assert model.hardware.gpus is not None
    assert (model.hardware.gpus[0].label, model.hardware.gpus[0].power) == ("GPU 0", 312.0)


def test_of_several_cards_the_fullest_is_charted() -> None:
    fuller = {**CARD, "index": 1, "memory_used": 20 * GIB}
    model = fed(event("memory", gpus=[CARD, fuller]))
    assert model.hardware.used.last == 20


def test_a_card_that_fell_off_the_bus_leaves_a_gap() -> None:
    gone = {**CARD, "memory_used": 0, "memory_total": 0, "problem": "It fell off the bus."}
    model = fed(event("memory", gpus=[CARD]), event("memory", gpus=[gone]))
    assert len(model.hardware.used) == 1
    assert model.hardware.gpus is not None
    assert model.hardware.gpus[0].problem == "It fell off the bus."
    assert model.hardware.gpus[0].used is None


def test_time_is_work_not_the_wall_clock() -> None:
    model = fed(
        event("phase", t=1000, phase="starting", words="."),
        event("heartbeat", t=1010),
        event("heartbeat", t=400),  # set back
        event("heartbeat", t=405),
        event("phase", t=90_000, attempt=2, phase="starting", words="."),  # resumed a day later
        event("memory", t=90_007, attempt=2, gpus=[], process_rss=GIB, host_used=GIB, host_total=2 * GIB),
    )
    assert model.clock.seconds == 10 + 5 + 7
    assert model.hardware.trainer_ram.last_x == 22
    assert model.clock.elapsed(90_010) == 25
    assert model.clock.elapsed(5) == 22


def test_samples_before_and_after() -> None:
    model = fed(
        event("sample", when="before", step=0, prompt="Who?", text="Me.", stopped=True),
        event("sample", when="after", step=9, prompt="Who?", text="Me, \x1b[31mhoot", stopped=False),
    )
    sample = model.samples["Who?"]
    assert (sample.before, sample.answers) == (
        "Me.",
        {"after": "Me, \\x1b[31mhoot [cut off at the length limit]"},
    )


def test_foreign_words_cannot_reach_the_terminal() -> None:
    evil = "a\x1b]0;owned\x07\u202eb\nc"
    model = fed(
        event("phase", phase="x", words=evil, model=evil, method=evil),
        event("warning", words=evil, fix=evil),
        event("failure", what=evil, where=evil, fix=evil),
        event("memory", gpus=[{**CARD, "problem": evil}]),
    )
    texts = [note.text for note in model.notes] + [
        model.model,
        model.method,
        str(model.failure),
        str(model.hardware.gpus),
    ]
    assert all("\x1b" not in text and "\u202e" not in text and "\n" not in text for text in texts)


def test_notes_tell_what_happened_in_plain_words() -> None:
    model = fed(
        event("evaluation", step=10, eval_loss=1.02, best=True),
        event("checkpoint", step=400, path="checkpoints/checkpoint-400", words="Saved checkpoint-400."),
        event("warning", words="3 rows are cut.", fix="Raise max_length."),
        event("heartbeat", phase="training"),
        event("something new", words="from a newer version"),
    )
    assert [(note.level, note.text) for note in model.notes] == [
        ("info", "Evaluated at step 10: loss 1.020, the best so far"),
        ("good", "Checkpoint saved at step 400"),
        ("warning", "3 rows are cut. Raise max_length."),
    ]


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("t", "seq", "attempt", "step", "max_steps", "loss", "eval_loss", "gpus", "earlier", "words", "phase", "prompt",
          "text", "when", "resumed_from", "request", "host_total", "process_rss", "epoch", "eval_rows")  # fmt: skip


@given(st.sampled_from((*KINDS, "unknown")), st.dictionaries(st.sampled_from(FIELDS), ODD))
def test_whatever_an_event_holds_nothing_breaks(kind: str, fields: dict[str, Any]) -> None:
    model = fed(metric(1, 1.0), {**fields, "kind": kind}, metric(2, 2.0))
    assert model.loss.last == 2.0
    model.marks()


@given(st.binary(max_size=200))
def test_whatever_a_line_holds_nothing_breaks(line: bytes) -> None:
    found = parse_line(line)
    if found is not None:
        fed(found)


def test_memory_stays_the_same_however_long_the_run_is() -> None:
    line = json.dumps(metric(0, 1.25, learning_rate=1e-4, grad_norm=0.5, tokens_per_second=10.0))
    model = MonitorModel()

    def feed(first: int, last: int) -> None:
        for step in range(first, last):
            model.feed({**json.loads(line), "step": step, "seq": step})
            if step % 10 == 0:
                model.feed(event("checkpoint", step=step))
                model.feed(event("memory", t=1000.0 + step, gpus=[CARD], host_used=GIB, host_total=GIB))

    tracemalloc.start()
    feed(0, 27_000)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 2_500_000, (
        "eleven curves of at most 2,048 buckets of 80 bytes, and a few hundred notes and marks"
    )
    assert model.loss.last_x == 26_999
