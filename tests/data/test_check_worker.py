"""A check in a process of its own: progress, an answer, errors in words, and an end when nobody wants it any more."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import psutil
import pytest

from engine.data.check.client import CheckProcess
from engine.data.check.crew import Crew
from engine.data.check.run import CheckRequest
from engine.errors import UserError

TURNS = [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Fine, thanks."}]


def test_progress_and_a_report(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": TURNS}))
    messages = list(CheckProcess(CheckRequest((str(path),))).messages())
    assert [message["kind"] for message in messages[:-1]] == ["progress"] * (len(messages) - 1)
    assert messages[-1]["report"]["usable"] == 1
    assert "1 of 1 rows usable" in messages[-1]["text"][0]


def test_errors_come_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such dataset file"):
        list(CheckProcess(CheckRequest((str(tmp_path / "none.jsonl"),))).messages())


def test_cancelling_ends_everything_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = json.dumps({"messages": TURNS}) + "\n"
    path.write_text("".join(line.replace("How", f"How {n}") for n in range(400_000)))
    process = CheckProcess(CheckRequest((str(path),), fix=str(tmp_path / "out.jsonl")))
    pid = process._worker.process.pid
    messages = process.messages()
    next(messages)
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    threading.Timer(0.3, process.cancel).start()
    began = time.monotonic()
    assert all(message["kind"] == "progress" for message in messages)
    assert time.monotonic() - began < 8
    assert not psutil.wait_procs(family, timeout=3)[1]
    assert [item.name for item in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_crew_keeps_the_order_and_tells_what_failed() -> None:
    with Crew(2) as crew:
        assert list(crew.map(abs, [(-n,) for n in range(20)])) == list(range(20))
        with pytest.raises(RuntimeError, match="invalid literal"):
            list(crew.map(int, [("seven",)]))


def test_a_member_that_is_killed_is_an_error_in_words() -> None:
    with Crew(1) as crew:
        crew._processes[0].kill()
        with pytest.raises(UserError, match="ended unexpectedly"):
            list(crew.map(abs, [(1,)]))
