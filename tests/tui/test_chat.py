"""The Chat screen and the Compare screen, with a worker process that has no model."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.events import Paste
from textual.widgets import Input

from engine.run.layout import RunDir
from tests.deliver.chat_runs import made_run
from tests.deliver.worker_double import Double
from tests.machine.builders import CARD, GIB, machine
from tests.tui.pilot import Screens, running
from tui.__main__ import main
from tui.screens.chat import ChatScreen
from tui.screens.compare import CompareScreen


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.deliver.talk.Worker", Double)
    monkeypatch.setattr("engine.deliver.compare.Worker", Double)


async def opened(screens: Screens, run: RunDir, *sides: str | None) -> ChatScreen:
    screen = ChatScreen(run, sides or (None,))
    screens.app.push_screen(screen)
    await screens.settle()
    return screen


async def until(screens: Screens, wanted: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not wanted():
        assert time.monotonic() < deadline, screens.text
        await asyncio.sleep(0.02)


async def test_a_question_and_its_answer() -> None:
    async with running(80, 24) as screens:
        await opened(screens, made_run())
        assert "Chat with owl   the result of owl, on cpu" in screens.text
        assert "at most 99 tokens" in screens.text
        await screens.type("good day")
        await screens.press("enter")
        for wanted in ("you good day", "result 0: good day", "stopped by itself, 3 tokens, 30.0 tokens/s"):
            assert wanted in screens.one_line, wanted
        assert screens.lines[-1].split() == "Enter send Esc back Tab keys".split()
        assert max(map(len, screens.lines)) <= 80


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_two_models_side_by_side(width: int) -> None:
    async with running(width, 30) as screens:
        await opened(screens, made_run(), None, "base")
        await screens.type("hi")
        await screens.press("enter")
        line = next(line for line in screens.lines if "0: hi" in line)
        assert line.index("1: hi") > width // 2 - 2
        assert max(map(len, screens.lines)) <= width


async def test_escape_stops_the_answer_and_then_goes_back() -> None:
    async with running(80, 24) as screens:
        await opened(screens, made_run())
        await screens.pilot.press(*"slow", "enter")
        await until(screens, lambda: "on and on on and on" in screens.one_line)
        assert "Esc stop" in screens.text
        assert "tokens/s" in screens.text
        await screens.pilot.press(*"more", "enter")
        assert "still being written" in screens.text
        await screens.press("escape")
        assert "stopped by you" in screens.one_line
        await screens.press("enter")
        assert "result 0: more" in screens.one_line
        await screens.press("escape")
        assert screens.at == "HomeScreen"


async def test_letters_are_keys_outside_the_text_field() -> None:
    async with running(100, 24) as screens:
        screen = await opened(screens, made_run())
        await screens.type("hello")
        await screens.press("enter", "tab", "x")
        assert "hello" not in screens.text
        assert screen._conversation.turns == [[]]
        await screens.press("tab", "y")
        await screens.type("Be kind.")
        await screens.press("enter")
        assert "system prompt Be kind." in screens.one_line
        await screens.press("s", "enter", "backspace")
        await screens.type("hot")
        await screens.press("enter")
        assert "takes a number" in screens.one_line
        await screens.press(*["backspace"] * 3)
        await screens.type("0.5")
        await screens.press("enter")
        assert "temperature 0.5" in screens.text
        await screens.press("tab")
        await screens.type("settings")
        await screens.press("enter")
        assert '"temperature": 0.5' in screens.one_line


async def test_every_line_of_what_is_pasted_is_sent() -> None:
    async with running(80, 24) as screens:
        screen = await opened(screens, made_run())
        await screens.type("so: ")
        screens.app.post_message(Paste("first\r\nsecond\n\nlast"))
        await screens.settle()
        await screens.type("!")
        assert "so: first⏎second⏎⏎last!" in screens.text
        await screens.press("enter")
        assert screen._conversation.turns[0][0]["content"] == "so: first\nsecond\n\nlast!"


async def test_the_command_opens_it_as_its_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made_run()
    monkeypatch.setattr("engine.cli.main.interactive", lambda: True)
    opened: list[tuple[Any, ...]] = []

    def run_app(name: str, run_name: str | None, mouse: bool, options: dict[str, Any]) -> int:
        opened.append((name, run_name, options))
        return 0

    monkeypatch.setattr("tui.app.run_app", run_app)
    monkeypatch.setattr("tui.environment.prepare_environment", lambda: None)
    asked = ["--against", "base", "--system", "Be kind.", "--temperature", "0.5", "--device", "cpu"]
    asked += ["--chat_template_kwargs", '{"enable_thinking": true}']
    assert main(["chat", "owl", "--against", "result"]) == 2
    assert main(["chat", "owl", *asked]) == 0
    [(name, run_name, options)] = opened
    async with running(100, 30, name, run_name, **options) as screens:
        assert screens.at == "ChatScreen"
        assert "the result of owl beside the base model demo, on cpu" in screens.one_line
        assert "system prompt Be kind." in screens.one_line
        await screens.type("settings")
        await screens.press("enter")
        assert '"temperature": 0.5' in screens.one_line
        assert '"enable_thinking": true' in screens.one_line
    monkeypatch.setattr("engine.cli.main.interactive", lambda: False)
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n"))
    assert main(["chat", "owl"]) == 0
    assert len(opened) == 1


async def test_another_model_is_put_beside_it() -> None:
    async with running(100, 30) as screens:
        screen = await opened(screens, made_run())
        await screens.press("tab", "b", "enter")  # the base is marked
        assert screen._sides == [None, "base"]
        assert "the result of owl beside the base model demo" in screens.text
        await screens.press("m", "down", "enter")
        assert screen._sides == ["checkpoint-48", "base"]


async def test_escape_sequences_of_a_model_stay_visible() -> None:
    async with running(80, 24) as screens:
        await opened(screens, made_run())
        await screens.type("escape")
        await screens.press("enter")
        assert "red \\x1b[31mhot\\x9b2J" in screens.text
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in screens.text.replace("\n", ""))


async def test_what_is_refused_and_what_dies_is_told() -> None:
    async with running(80, 24) as screens:
        await opened(screens, made_run())
        await screens.type("refuse")
        await screens.press("enter")
        assert "It is too long." in screens.text
        assert "you refuse" not in screens.one_line
        assert screens.app.screen.query_one(Input).value == "refuse"  # to be mended
        await screens.press("ctrl+u")
        await screens.type("die")
        await screens.press("enter")
        assert "main memory ran out" in screens.one_line
        await screens.press("ctrl+u")
        await screens.type("hello")
        await screens.press("enter")  # loads again, and keeps the words
        await screens.press("enter")
        assert "0: hello" in screens.text


async def test_a_full_card_offers_the_processor(computer: dict[str, Any]) -> None:
    computer["machine"] = machine(replace(CARD, memory_free=GIB // 10))
    async with running(80, 24) as screens:
        screen = await opened(screens, made_run())
        assert "no room on the graphics card" in screens.one_line
        await screens.press("enter")
        assert screen._device == "cpu"
        await screens.type("hi")
        await screens.press("enter")
        assert "0: hi" in screens.text


async def test_a_reward_model_takes_question_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_KIND", "score")
    async with running(80, 24) as screens:
        await opened(screens, made_run("judge", recipe="reward-lora"))
        await screens.type("Good?")
        await screens.press("enter")
        await screens.type("Yes.")
        await screens.press("enter")
        assert "question Good? answer Yes. result score +0.500 higher is better" in screens.one_line


async def test_help_says_what_the_words_mean() -> None:
    async with running(100, 45) as screens:
        await opened(screens, made_run())
        await screens.press("tab", "question_mark")
        assert "the model ended its answer" in screens.one_line
        assert "Put a second model beside it" in screens.one_line


# Comparing


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_before_and_after_one_by_one(width: int) -> None:
    async with running(width, 24) as screens:
        screens.app.push_screen(CompareScreen(made_run()))
        await screens.settle()
        for wanted in (
            "question 1 of 4", "changed", "base Mice. cut off: it did not stop by itself", "result Mice, hoot!",
            "2 of 3 answers changed.", "base 2 of 3, result 3 of 3.",
        ):  # fmt: skip
            assert wanted in screens.one_line, wanted
        assert max(map(len, screens.lines)) <= width
        await screens.press("n")
        assert "the same answer" in screens.text
        await screens.press("c")
        assert "\\x1b[31mNo" in screens.text
        await screens.press("n", "n")
        assert "question 3 of 4" in screens.text
        await screens.press("p", "p", "p")
        assert "question 1 of 4" in screens.text
        await screens.press("escape")
        assert screens.at == "HomeScreen"


async def test_compared_with_another_checkpoint() -> None:
    async with running(80, 24) as screens:
        screens.app.push_screen(CompareScreen(made_run()))
        await screens.settle()
        await screens.press("b", "up", "enter")
        assert '"checkpoint-24", "result"' in Double.started[-1][-1]
        assert "question 1 of 4" in screens.text


async def test_compare_tells_what_is_wrong() -> None:
    async with running(80, 24) as screens:
        screens.app.push_screen(CompareScreen(made_run("judge", recipe="reward-lora"), against="24"))
        await screens.settle()
        assert "no answers to compare" in screens.one_line
