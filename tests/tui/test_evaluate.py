"""The Evaluate screen, with worker processes that have no model."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest

from engine.deliver.evaluate.kinds import Kind
from engine.deliver.evaluate.report import Report, newest, save, saved
from engine.deliver.evaluate.run_evaluate import Wanted
from engine.deliver.evaluate.statistics import paired
from engine.deliver.evaluate.verdict import metric_of
from engine.deliver.protocol import Message
from engine.errors import UserError
from engine.run.layout import RunDir
from tests.deliver.chat_runs import made_run
from tests.deliver.test_evaluate_numbers import made_report
from tests.machine.builders import CARD, GIB, machine
from tests.tui.pilot import running
from tui.screens.evaluate import EvaluateScreen


class Double:
    """Stands in for `engine.deliver.protocol.Worker`; `hold` keeps it measuring."""

    started: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012 - for the tests to look at
    hold = threading.Event()
    broken = False

    def __init__(self, module: str, run: RunDir, options: str, env: Mapping[str, str]) -> None:
        self.module, self.options, self._closed = module, json.loads(options), threading.Event()
        self.started.append((module, self.options))

    def messages(self) -> Iterator[Message]:
        before, after = self.options["sides"]
        if self.module.endswith("lm_worker"):
            if self.options["tasks"] == ["x"]:
                raise UserError("lm-eval cannot measure this.", "--tasks x", "List the names.")
            kind = Kind("owls/acc", "owls acc", "")
            worse = metric_of(kind, paired([1.0] * 20, [0.0] * 9 + [1.0] * 11))
            yield {"kind": "tasks", "metrics": [asdict(worse)]}
            return
        yield {"kind": "note", "words": "5 rows are left out."}
        yield {
            "kind": "ready", "before": {"name": before, "words": f"the {before}"}, "data": "40 held-out rows", "rows": 40,
            "after": {"name": after, "words": f"the {after}"},
        }  # fmt: skip
        yield {"kind": "progress", "words": "answers of base", "done": 7, "total": 40, "left": 65.0}
        while not self.hold.wait(0.01):
            if self._closed.is_set():
                return
        report = replace(made_report(), run="owl", before=before, made_at=time.time())
        yield {"kind": "report", "report": report.to_dict()}

    def close(self) -> None:
        self._closed.set()


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.deliver.evaluate.run_evaluate.Worker", Double)
    monkeypatch.setattr("engine.deliver.evaluate.tasks.require", lambda: None)
    Double.started.clear()
    Double.hold.set()


@pytest.mark.parametrize("width", [60, 100])
async def test_table_verdict_and_worst_rows(width: int) -> None:
    async with running(width, 24) as screens:
        run = made_run()
        screens.app.push_screen(EvaluateScreen(run))
        await screens.settle()
        for wanted in (
            "Is it better? owl",
            "result against base",
            "exact match",
            "100.0 %",
            "better",
            "Better.",
        ):
            assert wanted in screens.one_line, wanted
        await screens.press("n")
        assert "worst by exact match: 1 of 1" in screens.one_line
        assert "cut off: it did not stop" in screens.one_line
        await screens.press("n", "w")
        assert "worst by loss: 1 of 1" in screens.one_line
        await screens.press("p")
        assert "worst by" not in screens.one_line
        assert max(map(len, screens.lines)) <= width
        assert "\x1b" not in screens.text
        assert newest(run) is not None
        await screens.press("escape")
        assert screens.at == "HomeScreen"


async def test_what_was_measured_is_shown_at_once_and_measured_again_when_asked() -> None:
    run = made_run()
    save(run, made_report())
    async with running(80, 24) as screens:
        screens.app.push_screen(EvaluateScreen(run))
        await screens.settle()
        assert "Better." in screens.text
        assert not Double.started
        await screens.press("r")
        assert len(Double.started) == 1
        await screens.press("b", "enter")  # the base is marked
        assert Double.started[-1][1]["sides"] == ["base", "result"]
        await screens.press("b", "up", "enter")
        assert Double.started[-1][1]["sides"] == ["checkpoint-24", "result"]
        assert len(saved(run)) >= 2


async def test_how_far_it_is_and_stopping() -> None:
    Double.hold.clear()
    async with running(80, 24) as screens:
        run = made_run()
        screens.app.push_screen(EvaluateScreen(run))
        deadline = time.monotonic() + 10
        while "Answers of base: 7 of 40, about 1:05 left" not in screens.one_line:
            assert time.monotonic() < deadline, screens.text
            await asyncio.sleep(0.02)
        assert "5 rows are left out." in screens.text
        await screens.pilot.press("escape")
        await screens.settle()
        assert "Stopped; nothing was saved." in screens.text
        assert not saved(run)
        await screens.press("escape")
        assert screens.at == "HomeScreen"


async def test_a_full_card_offers_the_processor(computer: dict[str, Any]) -> None:
    computer["machine"] = machine(replace(CARD, memory_free=GIB // 10))
    async with running(80, 24) as screens:
        screens.app.push_screen(EvaluateScreen(made_run()))
        await screens.settle()
        assert "no room on the graphics card" in screens.one_line
        await screens.press("enter")
        assert "Better." in screens.text


async def test_benchmarks_that_break_leave_the_rest() -> None:
    async with running(100, 30) as screens:
        run = made_run()
        screens.app.push_screen(EvaluateScreen(run, Wanted(tasks=["x"])))
        await screens.settle()
        assert [module.rsplit(".", 1)[-1] for module, _ in Double.started] == ["eval_worker", "lm_worker"]
        assert "The benchmarks are left out: lm-eval cannot measure this." in screens.one_line
        found = newest(run)
        assert isinstance(found, Report)
        assert len(saved(run)) == 1
        assert "left out" in found.notes[-1]


async def test_a_benchmark_that_went_worse_is_part_of_the_verdict() -> None:
    async with running(100, 30) as screens:
        run = made_run()
        screens.app.push_screen(EvaluateScreen(run, Wanted(tasks=["owls"])))
        await screens.settle()
        assert "owls acc 100.0 % 55.0 %" in screens.one_line
        assert "But worse: loss, owls acc." in screens.one_line
        found = newest(run)
        assert isinstance(found, Report)
        assert (found.outcome, found.primary) == ("better", "exact_match")
