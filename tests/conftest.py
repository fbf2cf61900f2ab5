"""What every test shares: a private home, one thread a process, no network."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

pytest_plugins = ["tests.fakes.fixtures", "tests.fakes.hub.fixtures"]

# Several test processes on two cores: more threads than that only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

gc.disable()  # until all tests are found: libraries make much that stays and nothing that goes
gc.set_threshold(50_000, 20, 20)  # looking for garbage was a fifth of what tests of screens cost

_looked_at = 0  # modules at the last tidying


def pytest_collection_finish() -> None:
    gc.enable()


def pytest_runtest_setup() -> None:
    """What big libraries made while they loaded stays for good; each later collection would look at it for half a second."""
    global _looked_at
    if len(sys.modules) > _looked_at + 500:
        gc.collect()
        gc.freeze()
        _looked_at = len(sys.modules)


@pytest.fixture(autouse=True)
def finetui_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs, drafts and crash logs of a test go to its own folder."""
    home = tmp_path / "finetui-home"
    monkeypatch.setenv("FINETUI_HOME", str(home))
    return home
