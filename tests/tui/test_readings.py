"""How rows are meant: asked where there are two ways, and columns said by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from engine.config.draft import Draft, load_draft, plan
from tests.tui.pilot import Screens, running, write_draft


def odd_table(*columns: str) -> str:
    with open("odd.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number in range(20):
            writer.writerow(f"{column} words number {number} [bold]" for column in columns)
    return str(Path("odd.csv").absolute())


async def hit(screens: Screens, *keys: str) -> None:
    """Press keys one after the other, waiting only after the last for what works in the background."""
    await screens.pilot.press(*keys)
    await screens.settle()


async def choose(screens: Screens, words: str) -> None:
    """Take the line of a list that begins with these words."""
    await screens.press("home")
    for _ in range(12):
        if any(f"▸ {words}" in line for line in screens.lines):
            await screens.press("enter")
            return
        await screens.press("down")
    raise AssertionError(screens.text)


async def test_two_ways_to_read_are_asked_with_an_example_of_each() -> None:
    write_draft(Draft(step="data", data_path=odd_table("alpha", "beta")))
    async with running() as screens:
        await screens.press("enter")
        assert "Enter asks which is meant" in screens.one_line
        await screens.press("enter")
        assert screens.at == "ReadingsScreen"
        assert screens.text.count("alpha words number 0 [bold]") >= 2
        assert "to imitate answers" in screens.text
        assert "to read texts" in screens.text
        await screens.press("escape")
        assert screens.at == "data"
        await screens.press("enter")
        await choose(screens, "Pairs of beta and alpha")
        assert screens.at == "data"
        assert "Enter asks" not in screens.one_line
        await screens.press("enter")
        assert screens.at == "model"
        draft = load_draft()
        assert draft.settings["mapping"] == {"prompt": "beta", "completion": "alpha"}
        source = plan(draft, None).config.data.train_specs()[0]
        assert (source.mapping, source.format) == (
            {"prompt": "beta", "completion": "alpha"},
            "question_answer",
        )
        await screens.press("escape")
        assert "user      beta words" in screens.text
        # What was said of one file is not said of the next.
        await screens.press("home", "enter")
        assert load_draft().settings == {}


async def test_columns_by_hand() -> None:
    write_draft(Draft(step="data", data_path=odd_table("alpha", "beta", "gamma")))
    async with running() as screens:
        await screens.press("enter", "r")
        assert screens.at == "ColumnsScreen"
        await hit(screens, "home", "down", "enter")
        assert "Which column is the question or input?" in screens.text
        await hit(screens, "end", "enter")
        await hit(screens, "home", "down", "down", "enter", "home", "enter")
        assert "user      gamma words number 0" in screens.text
        assert "assistant alpha words number 0" in screens.text
        await hit(screens, "end", "enter")
        assert screens.at == "data"
        assert "user      gamma words number 0" in screens.text
        await hit(screens, "r", "end", "enter", "k", "down", "down", "enter")
        assert "Still needed: text." in screens.text
        await hit(screens, "end", "enter")
        assert "Choose a column for: text." in screens.text
        await hit(screens, "home", "down", "enter", "home", "enter", "end", "enter", "enter")
        assert screens.at == "model"
    assert load_draft().settings == {"mapping": {"text": "alpha"}, "format": "text"}


async def test_preference_pairs_are_for_preferring_or_for_their_better_answers() -> None:
    path = Path("pref.jsonl").absolute()
    path.write_text(
        "".join(
            json.dumps({"prompt": f"p{n}", "chosen": f"good{n}", "rejected": f"bad{n}"}) + "\n"
            for n in range(9)
        )
    )
    write_draft(Draft(step="data", data_path=str(path)))
    async with running() as screens:
        await screens.press("enter")
        assert "Prefer the better of two answers" in screens.one_line
        assert "rejected  bad0" in screens.text
        await screens.press("r")
        assert "Learn only the chosen answers" in screens.text
        await choose(screens, "Learn only the chosen answers")
        assert "Imitate answers" in screens.one_line
        assert "assistant good0" in screens.text
        await screens.press("enter")
    draft = load_draft()
    assert draft.settings == {"format": "chosen"}
    assert plan(draft, None).config.method.objective == "sft"
