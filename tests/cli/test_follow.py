"""A run as plain lines and as events, whatever its file holds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli import follow as module
from engine.cli.follow import follow
from tests.tui.made_runs import MadeRun


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.02)
    monkeypatch.setattr(module, "STATE_EVERY", 0.02)


def ended(made: MadeRun) -> MadeRun:
    made.begin()
    made.train()
    made.steps(1, 40)
    made.evaluate(40, 0.9)
    made.finish()
    return made


def test_lines_say_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    made = ended(MadeRun("owl", max_steps=40))
    assert follow(made.run) == 0
    shown = capsys.readouterr().out
    assert "Evaluation at step 40: loss 0.900  (best so far)" in shown
    assert "step 40/40 (100%)" in shown
    assert "owl: finished." in shown
    assert shown.isprintable() or all(char.isprintable() or char == "\n" for char in shown)


def test_events_come_as_json_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    made = ended(MadeRun("owl", max_steps=40))
    assert follow(made.run, as_json=True) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["step"] for event in events if event["kind"] == "metric"] == list(range(1, 41))


ODD = [
    '{"v": 99, "seq": 1, "t": 1e300, "kind": "metric", "step": 5, "max_steps": 10, "loss": "NaN"}',
    '{"v": 2, "seq": 2, "t": -5, "kind": "hologram", "words": "from the future"}',
    '{"v": 1, "seq": 3, "t": "NaN", "kind": "phase", "words": "\\u001b[2J", "phase": {"a": [1]}}',
    '{"v": 1, "seq": 4, "t": 1e999, "kind": "evaluation", "step": [1], "eval_loss": {"x": 1}}',
    '{"v": 1, "seq": 5, "t": 7, "kind": "metric", "step": 1e999, "earlier": {"a": 1}, "tokens_per_second": 1e999}',
    '{"v": 1, "seq": 6, "t": 8, "kind": "metric", "step": 6, "earlier": 7, "max_steps": -3}',
    "\x00\x01\x02\xff",
    "[]",
    '{"kind": 7}',
    '{"v": 1, "seq": 7, "t": 9, "kind": "checkpoint", "words": "still here", "step": 6}',
]


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_in_the_file_ends_it(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    made = MadeRun("odd")
    with open(made.run.events, "ab") as handle:
        handle.write("\n".join(ODD).encode("latin-1") + b'\n{"v": 1, "kind": "met')
    made.end("stopped", "stopped")
    assert follow(made.run, as_json=as_json) == 3
    shown = capsys.readouterr().out
    assert "still here" in shown
    assert "\x1b" not in shown


def during(made: MadeRun, work: Callable[[], None]) -> int:
    """Follow while something else happens to the run."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        return follow(made.run)
    finally:
        thread.join()


def test_a_deleted_folder_ends_it_with_a_word(capsys: pytest.CaptureFixture[str], finetui_home: Path) -> None:
    made = MadeRun("owl")
    made.come_alive()
    made.begin()

    def vanish() -> None:
        time.sleep(0.15)
        made.run.path.rename(finetui_home / "elsewhere")

    assert during(made, vanish) == 1
    made.die()
    assert "its folder is gone" in capsys.readouterr().out


def test_silence_is_said_once_and_so_is_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    made = MadeRun("owl", clock=lambda: now - 600)
    made.come_alive()
    made.begin()

    def wake() -> None:
        time.sleep(0.25)
        made.clock = time.time
        made.again()
        made.writer.emit("heartbeat", phase="training")
        time.sleep(0.25)
        made.end("stopped", "Stopped by you.")

    assert during(made, wake) == 3
    states = [line for line in capsys.readouterr().out.splitlines() if line.startswith("State:")]
    assert len(states) == 2
    assert "silent since" in states[0]
    assert "running" in states[1]


def test_a_screen_reader_hears_of_every_tenth_of_the_way_not_of_every_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_SCREEN_READER", "1")
    made = MadeRun("owl", max_steps=100)
    made.come_alive()
    made.begin()
    made.train()

    def train() -> None:
        for step in range(1, 101):
            made.step(step)
            time.sleep(0.004)
        made.finish()

    assert during(made, train) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert 5 <= len(lines) <= 13
    assert lines[-1].startswith("step 100/100")
