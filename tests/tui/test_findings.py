"""The check of a dataset: every problem with its line, lengths, a repaired copy, and a screen that stays responsive."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from engine.config.draft import DEMO_DATA, DEMO_MODEL, Draft
from tests.tui.pilot import Screens, running, write_draft
from tui.dataset_check import CheckState, DatasetCheck, counting_model, repaired_name
from tui.screens.findings import FindingsScreen
from tui.widgets.histogram import histogram, percentile_words, truncated_words

SOUND = {
    "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good morning."}]
}


def write_faulty() -> Path:
    path = Path("faulty.jsonl")
    rows = [json.dumps({**SOUND, "n": n}).replace("Hello", f"Hello {n}") for n in range(20)]
    rows.append(json.dumps({"messages": [{"role": "user", "content": "only a question"}]}))
    rows.append('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b",}]}')
    painted = {"role": "assistant", "content": "\x1b]0;title\x07 [bold]x"}
    rows.append(json.dumps({"messages": [{"role": "user", "content": "paint"}, painted]}))
    path.write_text("\n".join(rows) + "\n")
    return path


async def checked(screens: Screens) -> FindingsScreen:
    """Wait for the end of the check."""
    screen = screens.app.screen
    assert isinstance(screen, FindingsScreen)
    for _ in range(200):
        await screens.settle()
        if screen._state.share is None:
            return screen
        await asyncio.sleep(0.05)
    raise AssertionError(screens.text)


async def test_problems_have_lines_and_a_repaired_copy_becomes_the_dataset() -> None:
    write_faulty()
    write_draft(Draft(step="data"))
    async with running(80, 24) as screens:
        await screens.press("enter", "down")
        assert "line 22" in screens.one_line  # reading stops at the broken line
        assert "c looks at every row" in screens.one_line
        await screens.press("c")
        await checked(screens)
        assert "of 23 rows usable" in screens.one_line
        assert "Stops the run: 1" in screens.text
        assert "line 21" in screens.text
        assert "line 22" in screens.text
        assert "\x1b" not in screens.text
        first = screens.text
        await screens.press("end")
        assert screens.text != first
        await screens.press("x")
        field = screens.app.screen.query_one(Input)
        wished, field.value = field.value, "faulty.jsonl"
        await screens.press("enter")
        assert "This file exists already." in screens.text
        field.value = wished
        await screens.press("enter")
        await checked(screens)
        assert "Written: faulty.fixed.jsonl, 22 rows; it is the dataset now." in screens.one_line
        assert "22 of 22 rows usable" in screens.one_line
        await screens.press("escape")
        assert screens.at == "data"
        assert "▸ faulty.fixed.jsonl" in screens.text
        await screens.press("enter")
        assert screens.app.the_draft().data_path.endswith("faulty.fixed.jsonl")
    assert len(Path("faulty.jsonl").read_text().splitlines()) == 23
    assert len(Path("faulty.fixed.jsonl").read_text().splitlines()) == 22


def test_a_repaired_copy_gets_a_free_name() -> None:
    assert repaired_name("faulty.jsonl") == str(Path("faulty.fixed.jsonl").absolute())
    Path("faulty.fixed.jsonl").write_text("mine")
    assert repaired_name("faulty.jsonl").endswith("faulty.fixed-2.jsonl")
    assert repaired_name("org/name") == str(Path("name.fixed.jsonl").absolute())


async def test_lengths_of_the_demo_are_counted_with_its_tokenizer() -> None:
    write_draft(Draft(step="data"))
    async with running(120, 40) as screens:
        await screens.press("enter", "c")
        screen = await checked(screens)
        assert "█" in screens.text
        assert "Half of the rows have up to" in screens.one_line
        assert screen._state.tokens["how"] in ("sample", "all rows")
        await screens.press("e")
        screen = await checked(screens)
        assert screen._state.tokens["how"] == "all rows"
        assert "counted in all rows" in screens.one_line
        await screens.press("m")
        value = screens.app.the_draft().settings["max_length"]
        assert value == screen._state.choices["max_length"]["value"]
        assert f"max_length {value:,}" in screens.one_line


async def test_a_check_can_be_stopped_and_the_screen_goes_on() -> None:
    row = json.dumps(SOUND) + "\n"
    with open("large.jsonl", "w") as file:
        for _ in range(10):
            file.write(row * 30_000)
    write_draft(Draft(step="data", data_path=str(Path("large.jsonl").absolute())))
    async with running() as screens:
        await screens.press("enter")
        await screens.pilot.press("c")
        await screens.pilot.pause()
        assert "Checking every row" in screens.text
        assert "Half of the rows" in screens.one_line or screens.app.screen._state.share is not None  # type: ignore[attr-defined]
        await screens.pilot.press("s")
        await screens.pilot.pause()
        assert "Stopped before all rows were looked at." in screens.one_line
        await screens.pilot.press("escape")
        await screens.pilot.pause()
        assert screens.at == "data"


def test_which_model_counts() -> None:
    assert counting_model(Draft(), DEMO_DATA) == DEMO_MODEL
    assert counting_model(Draft(data_path="mine.jsonl"), "mine.jsonl") is None
    assert counting_model(Draft(), "mine.jsonl") is None
    assert counting_model(Draft(data_path="mine.jsonl", model="Qwen/Qwen3-0.6B"), "mine.jsonl") is None


def test_a_mapping_given_by_hand_reaches_the_check() -> None:
    from tui.dataset import Wanted

    Path("odd.csv").write_text("alpha,beta\n" + "".join(f"question {n},answer {n}\n" for n in range(5)))
    wanted = Wanted("odd.csv", (("prompt", "beta"), ("completion", "alpha")), "prompt_completion")
    told: list[CheckState] = []
    state = DatasetCheck(wanted, None, 1024).run(told.append)
    assert state is not None
    assert state.report is not None
    assert (state.report["format"], state.report["usable"]) == ("prompt_completion", 5)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_histogram_fits(width: int) -> None:
    bins = [{"from": 1 << n, "to": (2 << n) - 1, "rows": n * 7} for n in range(4, 16)]
    tokens: dict[str, Any] = {
        "how": "sample", "rows": 900, "histogram": bins, "percentiles": {"50": 210, "95": 911}, "longest": 2040,
        "intervals_95": {"p95": [880, 930], "truncated": [0.01, 0.03]}, "max_length": 512, "truncated_share": 0.02,
    }  # fmt: skip
    lines = histogram(tokens, width, 8).plain.splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= width
    assert sum(int(line.replace("cut", "").split()[-1].replace(",", "")) for line in lines) == sum(
        b["rows"] for b in bins
    )
    assert "cut" in lines[-1]
    assert "95\u00a0% up to 911 (880 to 930)" in percentile_words(tokens)
    assert "2.0\u00a0% (1.0 to 3.0 %)" in truncated_words(tokens)
    assert histogram({"histogram": []}, width, 8).plain == ""
