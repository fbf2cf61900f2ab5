"""A text field for a path: Tab completes it, as in a shell."""

from __future__ import annotations

import os
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

from tui.keymap import KEYMAP


class PathInput(Input):
    """Where a file or folder is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", "complete", show=False)]
    typing_keys = KEYMAP["path-field"]

    def __init__(self, value: str = "", placeholder: str = "", id: str | None = None) -> None:
        super().__init__(value, placeholder=placeholder, id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False

    def action_complete(self) -> None:
        """Add what all possible paths have in common; with nothing to add, leave the field."""
        completed = complete_path(self.value)
        if completed == self.value:
            self.screen.focus_next()
        else:
            self.value = completed
            self.cursor_position = len(completed)


def complete_path(text: str) -> str:
    """The longest continuation that all existing paths with this beginning share."""
    folder, name = os.path.split(text)
    try:
        entries = os.listdir(os.path.expanduser(folder or "."))  # names alone: quick in huge folders
    except (OSError, ValueError):
        return text
    matches = [entry for entry in entries if entry.startswith(name) and (name or not entry.startswith("."))]
    if not matches:
        return text
    common = os.path.commonprefix(matches)  # noqa: RUF071 - letters, not folders, are meant
    path = os.path.join(folder, common)
    return f"{path}/" if len(matches) == 1 and os.path.isdir(os.path.expanduser(path)) else path
