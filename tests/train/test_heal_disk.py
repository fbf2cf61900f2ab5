"""Checkpoints on bad and full disks: checksums, what goes first, what never goes, waiting and its end."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import checkpoints
from engine.run.layout import RunDir, create
from engine.train.heal import disk
from engine.train.heal.disk import Room, is_full, saying_full
from engine.train.heal.start import checkpoint_to_resume
from engine.train.recorder import Recorder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setattr(disk, "POLL", 0.01)
    return create("r")


def saved(run: RunDir, step: int) -> Path:
    """A sealed checkpoint."""
    folder = run.checkpoints / f"checkpoint-{step}"
    (folder / "deep").mkdir(parents=True)
    (folder / "trainer_state.json").write_text('{"global_step": 1}')
    (folder / "optimizer.pt").write_bytes(bytes(range(256)) * 64)
    (folder / "deep" / "shard.bin").write_bytes(b"x" * 1000)
    checkpoints.seal(folder)
    return folder


def told(run: RunDir) -> str:
    return run.events.read_text()


def cut(folder: Path) -> None:
    os.truncate(folder / "optimizer.pt", 8000)


def flip(folder: Path) -> None:
    data = bytearray((folder / "optimizer.pt").read_bytes())
    data[5000] ^= 1
    (folder / "optimizer.pt").write_bytes(data)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (cut, "optimizer.pt is not what was written"),
    (flip, "optimizer.pt is not what was written"),
    (lambda folder: (folder / "deep" / "shard.bin").unlink(), "deep/shard.bin is missing"),
    (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS"),
    (lambda folder: os.truncate(folder / "SHA256SUMS", 70), "incomplete"),
    (lambda folder: shutil.rmtree(folder / "deep"), "is missing"),
]


@pytest.mark.parametrize(("harm", "words"), DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_put_aside_and_named(
    run: RunDir, harm: Callable[[Path], None], words: str
) -> None:
    good, bad = saved(run, 10), saved(run, 20)
    assert checkpoints.damage(good) is None
    harm(bad)
    recorder = Recorder(run)
    assert checkpoint_to_resume(run, recorder) == good
    assert words in told(run)
    assert "going on from that of step 10" in told(run)
    assert not bad.exists()
    assert (run.checkpoints / "damaged-checkpoint-20").is_dir()
    assert checkpoints.droppable(run.checkpoints, set()) == run.checkpoints / "damaged-checkpoint-20"


def test_nothing_good_left_means_the_beginning(run: RunDir) -> None:
    cut(saved(run, 10))
    assert checkpoint_to_resume(run, Recorder(run)) is None
    assert "starting from the beginning" in told(run)


def test_the_checksums_are_those_of_sha256sum(run: RunDir) -> None:
    folder = saved(run, 10)
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_save_interrupted_between_two_renames_loses_nothing(run: RunDir) -> None:
    folder = saved(run, 10)
    os.rename(folder, run.checkpoints / ".checkpoint-10.old")
    (run.checkpoints / ".saving-20").mkdir()
    checkpoints.sweep(run.checkpoints)
    assert [path.name for path in run.checkpoints.iterdir()] == ["checkpoint-10"]
    assert checkpoints.newest_good(run.checkpoints) == (folder, [])


class FullDisk:
    """A disk whose free space is what the checkpoints leave of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.size = size
        monkeypatch.setattr(disk, "free_bytes", self.free)

    def free(self, folder: Path) -> int:
        return self.size - checkpoints.size_of(folder)


def test_old_checkpoints_go_first_but_never_the_newest_nor_the_best(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = checkpoints.size_of(saved(run, 10))
    for step in (20, 30, 40):
        saved(run, step)
    FullDisk(monkeypatch, 4 * each + 100)
    room = Room(Recorder(run), lambda: False)
    assert room.write(run.checkpoints, "step 50", 2 * each, {"checkpoint-20"}, lambda: None)
    left = [checkpoints.step_of(path) for path in checkpoints.finished(run.checkpoints)]
    assert left == [20, 40]
    assert "checkpoint-10 was removed to make room" in told(run)
    assert "checkpoint-30 was removed to make room" in told(run)


def test_training_waits_and_goes_on_by_itself(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(run, 10)
    full = FullDisk(monkeypatch, 0)
    looks = 0

    def is_ending() -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            full.size = 1 << 30
        return False

    assert Room(Recorder(run), is_ending).write(run.checkpoints, "step 20", 1000, set(), lambda: None)
    assert looks == 3
    assert "Training waits" in told(run)
    assert "There is space again" in told(run)
    assert len(checkpoints.finished(run.checkpoints)) == 1


def test_a_stop_ends_the_waiting(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(monkeypatch, 0)
    written: list[int] = []
    assert not Room(Recorder(run), lambda: True).write(
        run.checkpoints, "step 20", 1000, set(), lambda: written.append(1)
    )
    assert written == []


def test_a_save_that_fails_half_way_is_tried_again_when_there_is_more_room(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = FullDisk(monkeypatch, 1000)
    tries: list[int] = []

    def save() -> None:
        tries.append(full.size)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    def is_ending() -> bool:
        full.size += 1 << 20
        return False

    assert Room(Recorder(run), is_ending).write(run.checkpoints, "step 20", 10, set(), save)
    assert len(tries) == 2
    assert tries[1] > tries[0]


def test_other_errors_are_not_taken_for_a_full_disk(run: RunDir) -> None:
    def save() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Room(Recorder(run), lambda: False).write(run.checkpoints, "step 20", 10, set(), save)


def test_a_full_disk_is_known_whoever_says_so(run: RunDir) -> None:
    assert is_full(OSError(errno.EDQUOT, "Disk quota exceeded"), run.path)
    assert is_full(RuntimeError("I/O error: No space left on device (os error 28)"), run.path)
    outer = RuntimeError("failed writing file")
    outer.__cause__ = OSError(errno.ENOSPC, "x")
    assert is_full(outer, run.path)
    vague = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 657664 vs 657552")
    assert not is_full(vague, run.path)  # there is room, so it was something else
    with pytest.raises(RuntimeError, match="unexpected pos"), saying_full(run.path):
        raise vague
