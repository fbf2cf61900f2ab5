"""Help: what a screen is for, and its keys, made from the keymap."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.keymap import Key, group_keys, keys_of, shown_name
from tui.own_keys import own_keys_file
from tui.text import hanging

GENERAL = (
    ("↑ ↓", "Move in a list or scroll."),
    ("Tab", "Go to the next field or list; Shift+Tab goes back."),
    ("Ctrl+P", "The same actions by name, and dark or light colours."),
    ("Ctrl+C", "Leave from anywhere."),
)


class HelpScreen(ModalScreen[None]):
    """The keys of a screen.

    Args:
        about: The screen to explain.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,enter,q,question_mark,f1,space", "dismiss_help", "close")
    ]

    def __init__(self, about: Screen[object]) -> None:
        super().__init__()
        groups: tuple[str, ...] = getattr(about, "KEY_GROUPS", ())
        # Behind a small window nothing else listens.
        self._keys = group_keys(*groups, "dialog") if isinstance(about, ModalScreen) else keys_of(*groups)
        text = getattr(about, "help_text", None)
        self._words: str = text() if callable(text) else ""

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", id="help"):
            yield Static(self._content())
        keys = Content.assemble(("Esc", "bold $primary"), " close   ", ("↑↓", "bold $primary"), " scroll")
        yield Static(keys, classes="dialog-keys")

    def _content(self) -> Content:
        width = min(76, self.app.size.width) - 5
        lines = [Content(self._words), Content("")] if self._words else []
        for key in self._keys:
            lines.append(_line(_keys(key), key.help, width))
        lines += [Content(""), *(_line(keys, words, width) for keys, words in GENERAL)]
        lines += [
            Content(""),
            hanging(" ", "", f"Other keys: write them into {own_keys_file()}", width, "$muted"),
        ]
        return Content("\n").join(lines)

    def action_dismiss_help(self) -> None:
        self.dismiss(None)


def _keys(key: Key) -> str:
    return " ".join(map(shown_name, key.keys.split(",")))


def _line(keys: str, words: str, width: int) -> Content:
    return hanging(f"{keys:<9}", "bold $primary", words, width)
