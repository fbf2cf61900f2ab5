"""The app under a pilot: screens without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import draft as draft_module
from engine.machine import Machine
from engine.run.home import runs_home
from engine.run.layout import RunDir
from tests.machine.builders import CARD as A_CARD
from tests.machine.builders import machine
from tests.tui.made_runs import CARD, MadeRun
from tui.app import FinetuiApp

GPU_MACHINE = machine(A_CARD)
CPU_MACHINE = machine()


class Started(list[draft_module.Plan]):
    """The plans that would have been started; nothing is trained.

    Attributes:
        seconds: A start takes.
    """

    seconds = 0.0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    plans = Started()

    def start(plan: draft_module.Plan, numbered: bool = True, anyway: bool = False) -> RunDir:
        if not anyway and (refusals := draft_module.refusals(plan)):
            raise refusals[0]
        plans.append(plan)
        time.sleep(plans.seconds)
        return RunDir(runs_home() / plan.name)

    monkeypatch.setattr(draft_module, "start", start)
    monkeypatch.setattr("engine.run.launch.require_training_packages", lambda: None)
    return plans


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose monitor would have been opened."""
    names: list[str] = []
    monkeypatch.setattr(FinetuiApp, "open_monitor", lambda self, name: names.append(name))
    return names


@pytest.fixture
def fast_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor looks and draws more often than it would for a person."""
    monkeypatch.setattr("tui.screens.monitor.POLL", 0.1)
    monkeypatch.setattr("tui.screens.monitor.DRAW_EVERY", 0.0)
    monkeypatch.setattr("tui.screens.monitor.MORE_EVERY", 0.0)


@pytest.fixture
def made() -> Iterator[MadeRun]:
    """A live run in the middle of training."""
    run = MadeRun("owl")
    run.come_alive()
    run.begin()
    run.train()
    run.evaluate(0, 3.0)
    run.steps(1, 100)
    run.evaluate(100, 1.05)
    run.memory(CARD)
    yield run
    run.die()


@pytest.fixture(autouse=True)
def computer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Machine]:
    """The machine the app finds, without a card; a test may put another under "machine"."""
    found: dict[str, Any] = {"machine": CPU_MACHINE}
    monkeypatch.setattr(
        sys.modules["engine.machine.probe"], "probe", lambda *args, **options: found["machine"]
    )
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return found
