"""One table of keys, and what is made from it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from textual.screen import Screen

import tui.screens
from engine.config.draft import Draft
from tests.tui.pilot import running, write_draft
from tui.app import FinetuiApp
from tui.keymap import KEYMAP, keys_of
from tui.screens.ask import AskScreen
from tui.screens.base import BaseScreen
from tui.screens.confirm import ConfirmScreen
from tui.widgets.key_line import MAX_KEYS, KeyLine
from tui.wizard_steps import STEPS

FIGHTS_WITH_TMUX = {"ctrl+b", "ctrl+a", "ctrl+s", "ctrl+z", "ctrl+h", "ctrl+m"}


def all_screens() -> list[type[Screen[object]]]:
    found = {}
    for module in pkgutil.iter_modules(tui.screens.__path__, "tui.screens."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(thing, BaseScreen) and thing.KEY_GROUPS:
                found[name] = thing
    return list(found.values())


def test_ids_are_unique() -> None:
    ids = [key.id for keys in KEYMAP.values() for key in keys]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("screen", all_screens(), ids=lambda screen: screen.__name__)
def test_every_key_of_a_screen_does_something(screen: type[BaseScreen]) -> None:
    for key in keys_of(*screen.KEY_GROUPS):
        if not key.action:
            continue
        owner, _, name = key.action.rpartition(".")
        assert hasattr(FinetuiApp if owner == "app" else screen, f"action_{name.split('(')[0]}"), key.id
        assert key.help.endswith("."), key.id


@pytest.mark.parametrize("screen", all_screens(), ids=lambda screen: screen.__name__)
def test_no_key_means_two_things(screen: type[BaseScreen]) -> None:
    keys = [name for key in keys_of(*screen.KEY_GROUPS) if key.action for name in key.keys.split(",")]
    assert len(keys) == len(set(keys))
    assert not set(keys) & FIGHTS_WITH_TMUX


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("width", [40, 80])
async def test_key_line_fits_and_always_says_the_way_on_and_out(step: str, width: int) -> None:
    write_draft(Draft(step=step))
    async with running(width) as screens:
        await screens.press("enter")
        assert screens.at == step
        line = screens.lines[-1]
        assert len(line) <= width
        assert "Enter" in line
        assert "q leave" in line
        if width <= 80:
            assert line.strip().count("   ") < MAX_KEYS


async def test_help_lists_every_key_of_the_screen() -> None:
    async with running(100, 50) as screens:
        await screens.press("enter", "question_mark")
        for key in keys_of("wizard", "machine"):
            assert key.help in screens.one_line
        assert "VRAM" in screens.text
        await screens.press("escape")
        assert screens.at == "machine"


@pytest.mark.parametrize("key", ["question_mark", "f1"])
async def test_a_small_window_has_help_too(key: str) -> None:
    async with running() as screens:
        dialog = ConfirmScreen("Delete it?", ["It is large."], [("keep", "Keep it"), ("delete", "Delete it")])
        screens.app.push_screen(dialog)
        await screens.settle()
        assert "? help" in screens.text
        await screens.press(key)
        assert screens.at == "HelpScreen"
        assert "Close this and change nothing." in screens.one_line
        assert "Leave finetui." not in screens.text  # q does nothing behind a small window
        await screens.press("escape")
        assert screens.app.screen is dialog


async def test_help_in_a_text_field_is_f1_because_a_question_mark_is_text() -> None:
    async with running() as screens:
        screens.app.push_screen(AskScreen("Name?", "Any."))
        await screens.settle()
        await screens.press("question_mark")
        assert screens.at == "AskScreen"
        await screens.press("f1")
        assert screens.at == "HelpScreen"


async def test_a_click_on_a_key_presses_it() -> None:
    async with running() as screens:
        line = screens.lines[-1]
        await screens.pilot.click(KeyLine, offset=(line.index("? help"), 0))
        await screens.settle()
        assert screens.at == "HelpScreen"
