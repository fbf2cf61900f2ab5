"""The list of runs as values: order, search, sweeps, and one line each."""

from __future__ import annotations

import pytest

from engine.run.sweeps import Entry as SweepEntry
from engine.run.sweeps import Sweep
from tests.tui.test_home import run_state
from tui.run_list import (
    SORTS,
    Columns,
    Sort,
    arrange,
    details,
    heading,
    run_line,
    sketch,
    state_words,
    sweep_line,
)

RUNS = [
    run_state(name="owl-1", state="finished", started=300.0, loss=0.5, model="Qwen/Qwen3-8B"),
    run_state(name="cat", state="running", started=200.0, loss=float("nan"), model="google/gemma-3-4b-it"),
    run_state(name="owl-2", state="died", started=100.0, loss=0.1, words="The kernel killed it."),
]


def names(sort: Sort = "newest", words: str = "") -> list[str]:
    return [entry.runs[0].name for entry in arrange(RUNS, (), sort, words)]


def test_order() -> None:
    assert names("newest") == ["owl-1", "cat", "owl-2"]
    assert names("name") == ["cat", "owl-1", "owl-2"]
    assert names("loss") == ["owl-2", "owl-1", "cat"]  # what is not a number comes last
    assert names("state") == ["cat", "owl-2", "owl-1"]


def test_every_word_must_occur_somewhere() -> None:
    assert names(words="OWL") == ["owl-1", "owl-2"]
    assert names(words="owl died") == ["owl-2"]
    assert names(words="gemma") == ["cat"]
    assert names(words="nothing") == []


def test_the_runs_of_a_sweep_are_one_line_until_it_is_opened() -> None:
    sweep = Sweep("grid", (SweepEntry("owl-1", {}), SweepEntry("owl-2", {}), SweepEntry("deleted", {})))
    closed = arrange(RUNS, [sweep])
    assert [entry.id for entry in closed] == ["sweep:grid", "run:cat"]
    assert [run.name for run in closed[0].runs] == ["owl-1", "owl-2"]
    opened = arrange(RUNS, [sweep], opened={"grid"})
    assert [entry.id for entry in opened] == ["sweep:grid", "run:owl-1", "run:owl-2", "run:cat"]
    assert opened[1].indented
    # Who looks for something wants the run, not the sweep it is in.
    assert [entry.id for entry in arrange(RUNS, [sweep], words="owl")] == ["run:owl-1", "run:owl-2"]
    line = sweep_line(closed[0], 80, False, False).plain
    assert "0 of 3 runs done" in line
    assert "best 0.1" in line


@pytest.mark.parametrize("width", [52, 60, 70, 71, 79, 80, 100, 120, 200, 300])
def test_columns_stay_where_they_are(width: int) -> None:
    drawn = sketch(tuple((float(step), 5.0 - step) for step in range(4)), Columns.of(width).curve, "braille")
    lines = [
        run_line(run, width, drawn, marked=marked, now=run.updated + 125).plain
        for run in (*RUNS, run_state(name="名前" * 30, state="silent"), run_state(max_steps=0, loss=None))
        for marked in (False, True)
    ]
    at = heading(width, 5, 5, "newest", "", 0, 0).plain.index("ago")
    for line in lines:
        cells = "".join(char + "\0" * (ord(char) > 0x2FFF) for char in line)
        assert cells[at:].startswith("2 min"), line
    if width <= 80:
        assert max(len(line.rstrip()) for line in lines if "名" not in line) <= width - 6


def test_why_it_died_is_said_where_there_is_room() -> None:
    assert state_words(RUNS[2], 18) == "died"
    assert state_words(RUNS[2], 40) == "died: The kernel killed it."
    assert state_words(run_state(state="silent"), 18).startswith("silent since ")


def test_foreign_text_is_made_harmless() -> None:
    evil = run_state(name="x\x1b[31m", model="a/\x1b]0;t\x07", method="\u202e", dataset="[b]", changed="\x00")
    for text in (run_line(evil, 200).plain, details(evil)):
        assert text.isprintable()


def test_a_sketch_is_as_wide_as_its_column() -> None:
    for count in (0, 1, 2, 50, 5000):
        curve = tuple((float(step), 1 / (step + 1)) for step in range(count))
        assert len(sketch(curve, 8, "braille")) == 8
    assert sketch(((0.0, 2.0), (1000.0, 1.0)), 4, "ascii").strip()


def test_heading_says_what_is_listed() -> None:
    for sort in SORTS:
        assert "200 runs" in heading(80, 200, 200, sort, "", 0, 0).plain
    assert heading(80, 3, 200, "newest", "owl", 0, 0).plain.strip().startswith("3 of 200 runs")
    assert "2 marked" in heading(80, 3, 200, "newest", "", 0, 2).plain
    assert "1 run," in heading(80, 1, 1, "newest", "", 0, 0).plain
