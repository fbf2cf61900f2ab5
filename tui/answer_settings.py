"""The dialogs that change how a model's answers are made."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content
from textual.widgets.option_list import Option

from engine.deliver.sampling import SETTINGS, Sampling, changed
from tui.screens.ask import AskScreen
from tui.screens.base import BaseScreen
from tui.screens.pick import PickScreen


def ask_setting(screen: BaseScreen, sampling: Sampling, done: Callable[[str, str], None]) -> None:
    """Ask which setting is to change, and for its value.

    Args:
        screen: Over which the dialogs stand.
        sampling: The settings before.
        done: Given the setting's name and its value, which is possible; not called where the user thinks better of it.
    """

    def picked(key: str | None) -> None:
        if key is None:
            return
        help_text = f"{SETTINGS[key].help[0].upper()}{SETTINGS[key].help[1:]}."
        before = _number(getattr(sampling, key))
        asking = AskScreen(key, help_text, before, lambda value: changed(sampling, {key: value}))
        screen.app.push_screen(asking, lambda value: None if value is None else done(key, value))

    options = [
        Option(
            Content.assemble(
                f"{key:<20}", (f"{_number(getattr(sampling, key)):<7} ", "bold"), (setting.help, "$muted")
            ),
            id=key,
        )
        for key, setting in SETTINGS.items()
    ]
    words = "As the model's makers set them, where they did. Enter changes the marked one."
    screen.app.push_screen(PickScreen("How answers are made", words, options), picked)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
