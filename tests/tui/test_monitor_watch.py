"""Following a run's files while they grow, break and disappear."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.run import control
from engine.run.layout import RunDir
from tests.tui.made_runs import MadeRun
from tui.monitor import watch as watch_module
from tui.monitor.log_tail import MOST_BYTES, MOST_LINES, LogTail
from tui.monitor.watch import Watch


@pytest.fixture
def made() -> MadeRun:
    run = MadeRun()
    run.begin()
    run.train()
    return run


def test_a_long_history_is_read_in_slices(made: MadeRun) -> None:
    made.steps(1, 3000)
    watch = Watch(made.run)
    first = watch.read(max_events=1000, seconds=60)
    assert 1000 <= first < 2000
    assert watch.behind
    assert watch.share_read == pytest.approx(first / 3005, abs=0.01)
    while watch.behind:
        watch.read()
    assert watch.share_read is None
    assert watch.model.progress.step == 3000
    made.step(3001)
    assert watch.read() == 1
    assert watch.share_read is None, "what comes later is news, not history"


def test_a_slice_ends_in_time(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    made.steps(1, 2000)
    monkeypatch.setattr(watch_module, "READ_BYTES", 1000)
    watch = Watch(made.run)
    assert watch.read(max_events=10**9, seconds=0.0) == 0
    assert 0 < watch.read(max_events=10**9, seconds=0.001) < 2000


def test_a_line_that_is_half_written_waits_for_its_rest(made: MadeRun) -> None:
    watch = Watch(made.run)
    watch.read()
    with open(made.run.events, "ab") as file:
        file.write(b'{"v":1,"seq":99,"t":5,"kind":"metric","step":1,"lo')
        file.flush()
        watch.read()
        assert not watch.model.loss
        file.write(b'ss":2.5}\n')
    watch.read()
    assert watch.model.loss.last == 2.5
    assert watch.bad_lines == 0


def test_garbage_is_counted_and_skipped(made: MadeRun) -> None:
    with open(made.run.events, "ab") as file:
        file.write(
            b"\x00\xff\xfe garbage\n[1,2]\n" + b'{"kind":"metric","step":"NaN","max_steps":"Infinity"}\n'
        )
    made.step(1)
    watch = Watch(made.run)
    watch.read()
    assert watch.bad_lines == 2
    assert watch.model.progress.step == 1
    assert watch.model.progress.max_steps == 400


def test_a_file_that_was_replaced_is_read_anew(made: MadeRun) -> None:
    made.steps(1, 50)
    watch = Watch(made.run)
    watch.read()
    made.run.events.write_text('{"v":1,"seq":1,"t":5,"attempt":1,"kind":"metric","step":3,"loss":9.0}\n')
    watch.read()
    assert len(watch.model.loss) == 1
    assert watch.model.loss.last == 9.0


def test_the_state_follows_lock_and_obituary(made: MadeRun) -> None:
    watch = Watch(made.run)
    assert watch.look().state == "new"
    made.come_alive()
    assert watch.look().state == "running", "coming alive is seen at once"
    made.end("died", "The trainer was killed.")
    status = watch.look()
    assert (status.state, status.words, status.live) == ("died", "The trainer was killed.", False)


def test_silence_is_seen(made: MadeRun) -> None:
    made.come_alive()
    watch = Watch(made.run)
    assert watch.look(now=made.clock() + 60).state == "silent"
    made.die()


def test_requests_that_wait_are_seen_by_every_viewer(made: MadeRun) -> None:
    made.come_alive()
    one, other = Watch(made.run), Watch(made.run)
    control.request(made.run, "checkpoint")
    assert one.look().asked == other.look().asked == ("checkpoint",)
    control.take(made.run)
    assert one.look().asked == ()
    made.die()


def test_watching_writes_nothing(made: MadeRun) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.run.path.rglob("*")}
    watch = Watch(made.run)
    watch.read()
    watch.look()
    assert {path: path.stat().st_mtime_ns for path in made.run.path.rglob("*")} == before


def test_a_folder_that_is_gone_or_was_never_there_is_a_state(made: MadeRun) -> None:
    watch = Watch(made.run)
    watch.read()
    os.rename(made.run.path, made.run.path.with_name("elsewhere"))
    watch.read()
    watch._looked = -10.0
    assert watch.look().state == "gone"
    never = Watch(RunDir(Path("/nowhere/at/all")))
    assert never.read() == 0
    assert never.look().state == "gone"


def test_an_events_file_that_is_a_folder_is_a_state(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "odd")
    run.events.mkdir(parents=True)
    watch = Watch(run)
    assert watch.read() == 0
    assert watch.look().state == "unreadable"


def test_a_file_of_nonsense_is_a_state(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "odd")
    run.path.mkdir()
    run.events.write_text('{"kind":"metric","step":"Infinity","t":1e308}\n' * 3)
    watch = Watch(run)
    watch.read()
    assert watch.look().state == "new"
    assert (watch.model.progress.step, len(watch.model.loss)) == (0, 0)


# The log


def test_the_log_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    log = LogTail(path)
    assert not log.read()
    path.write_text("one\ntwo\nthr")
    assert log.read()
    assert log.shown() == ["one", "two", "thr"]
    with open(path, "a") as file:
        file.write("ee\nfour\n")
    assert log.read()
    assert log.shown() == ["one", "two", "three", "four"]
    assert not log.read()


def test_of_a_progress_bar_only_the_last_state_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"10%\r50%\r100%\r\nnext\r\n")
    log = LogTail(path)
    log.read()
    assert log.shown() == ["100%", "next"]


def test_a_log_cannot_control_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"\x1b[2Jgone\x07 \xff\xfe\ttab\n")
    log = LogTail(path)
    log.read()
    assert log.shown() == ["\\x1b[2Jgone\\x07 \ufffd\ufffd    tab"]


def test_of_a_huge_log_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with open(path, "w") as file:
        file.writelines(f"line {number} {'x' * 100}\n" for number in range(40_000))
    log = LogTail(path)
    log.read()
    assert log.shown()[-1].startswith("line 39999 ")
    assert log.shown()[0].startswith("line "), "no half line at the beginning"
    assert len(log.lines) <= min(MOST_LINES, MOST_BYTES // 100)


def test_a_log_that_was_cut_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("a long first line\nanother\n")
    log = LogTail(path)
    log.read()
    path.write_text("new\n")
    log.read()
    assert log.shown() == ["new"]


def test_a_character_in_two_parts_is_put_together(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    data = "größe\n".encode()
    path.write_bytes(data[:3])
    log = LogTail(path)
    log.read()
    with open(path, "ab") as file:
        file.write(data[3:])
    log.read()
    assert log.shown() == ["größe"]
