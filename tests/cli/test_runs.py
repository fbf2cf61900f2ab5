"""``finetui runs``: the list, and deleting from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.run import sweeps
from engine.run.sweeps import Entry, Sweep
from tests.tui.made_runs import MadeRun


@pytest.fixture
def runs() -> list[str]:
    names = ["a-1", "a-2", "solo"]
    for name in names:
        made = MadeRun(name)
        made.begin()
        made.finish()
    sweeps.create("a")
    sweeps.write(Sweep("a", tuple(Entry(name, {}, outcome="finished") for name in names[:2])))
    return names


def names_left(capsys: pytest.CaptureFixture[str]) -> set[str]:
    capsys.readouterr()
    assert main(["runs", "--json"]) == 0
    return {run["name"] for run in json.loads(capsys.readouterr().out)}


def test_deleting_says_what_and_how_much(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--delete", "solo", "-y"]) == 0
    assert "Deleted solo, less than 1 MiB." in capsys.readouterr().out
    assert names_left(capsys) == {"a-1", "a-2"}


def test_nobody_is_asked_where_nobody_is(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--delete", "solo", "a-1"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert names_left(capsys) == set(runs)


def test_a_sweep_stands_for_its_runs(
    runs: list[str], capsys: pytest.CaptureFixture[str], finetui_home: Path
) -> None:
    assert main(["runs", "--delete", "a", "--yes", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["a-1", "a-2"]
    assert names_left(capsys) == {"solo"}
    assert not list((finetui_home / "sweeps").iterdir())


def test_one_live_run_stops_all_of_it(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    live = MadeRun("live")
    live.come_alive()
    try:
        assert main(["runs", "--delete", "solo", "live", "-y"]) == 2
    finally:
        live.die()
    assert "going on" in capsys.readouterr().err
    assert names_left(capsys) == {*runs, "live"}


def test_a_name_that_is_not_there(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--delete", "sola", "-y"]) == 2
    assert "Did you mean solo?" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "left"), [("yes", set()), ("", {"solo"}), ("n", {"solo"})])
def test_at_a_terminal_it_asks(
    answer: str, left: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MadeRun("solo")
    made.begin()
    made.finish()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert main(["runs", "--delete", "solo"]) == 0
    assert "It cannot be undone." in capsys.readouterr().out
    assert names_left(capsys) == left
