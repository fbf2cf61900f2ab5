"""Deleting runs: all or nothing in the list, never a live one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.run import lock, removing, sweeps
from engine.run.layout import RunDir
from engine.run.state import list_runs
from engine.run.sweeps import Entry, Sweep
from tests.tui.made_runs import MadeRun


@pytest.fixture
def run() -> RunDir:
    made = MadeRun("owl")
    made.begin()
    made.finish()
    (made.run.checkpoints / "checkpoint-1").mkdir()
    (made.run.checkpoints / "checkpoint-1" / "weights").write_bytes(bytes(300_000))
    return made.run


@pytest.fixture
def live() -> Iterator[MadeRun]:
    made = MadeRun("live")
    made.come_alive()
    yield made
    made.die()


def test_a_run_goes_with_everything_in_it(run: RunDir, finetui_home: Path) -> None:
    assert removing.size_of(run.path) >= 300_000
    removing.remove(run)
    assert os.listdir(finetui_home / "runs") == []


def test_a_live_run_stays(live: MadeRun) -> None:
    with pytest.raises(UserError, match="going on") as refused:
        removing.remove(live.run)
    assert "finetui stop live" in refused.value.fix
    assert live.run.events.exists()


def test_a_crash_half_way_leaves_nothing_in_the_list(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: Path, **options: object) -> None:
        (Path(path) / "events.jsonl").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            removing.remove(run)
    assert list_runs() == []
    assert len(os.listdir(run.path.parent)) == 1
    removing.empty_trash()
    assert os.listdir(run.path.parent) == []


def test_the_lock_is_free_after_a_failed_removal(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", refuse)
        with pytest.raises(UserError, match="Permission denied"):
            removing.remove(run)
    assert lock.is_held(run.lock) is False
    assert run.events.exists()


def test_what_is_only_a_link_is_not_followed(run: RunDir, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    run.path.rename(elsewhere)
    run.path.symlink_to(elsewhere)
    with pytest.raises(UserError, match="link"):
        removing.remove(run)
    assert (elsewhere / "events.jsonl").exists()


def test_a_link_inside_is_removed_and_not_what_it_points_at(run: RunDir, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("x")
    (run.path / "link").symlink_to(precious)
    removing.remove(run)
    assert (precious / "data").exists()


def test_a_read_only_folder_inside_goes_too(run: RunDir) -> None:
    folder = run.checkpoints / "checkpoint-1"
    folder.chmod(0o500)
    removing.remove(run)
    assert not run.path.exists()


def test_a_run_that_waits_in_a_live_sweep_stays(run: RunDir) -> None:
    folder = sweeps.create("grid")
    sweeps.write(Sweep("grid", (Entry("owl", {"lora_r": "8"}), Entry("other", {"lora_r": "16"}))))
    held = lock.acquire(folder / "lock")
    assert held is not None
    try:
        with pytest.raises(UserError, match="part of the sweep grid"):
            removing.remove(run)
        with pytest.raises(UserError, match="going on"):
            removing.remove_sweep(sweeps.find_sweep("grid"))
    finally:
        os.close(held)
    removing.remove(run)
    removing.remove_sweep(sweeps.find_sweep("grid"))
    assert sweeps.list_sweeps() == []
