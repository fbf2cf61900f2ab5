"""A small window that asks for one value."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engine.errors import UserError
from tui.keymap import bindings, keys_of
from tui.widgets.key_line import KeyLine
from tui.widgets.notice import Notice


class AskScreen(ModalScreen[str | None]):
    """Asks for one line of text; the result is None when it was cancelled.

    Args:
        title: The question.
        words: A sentence or two below it.
        value: What is in the field at first.
        check: Raises `UserError` for a value that cannot be used.
    """

    BINDINGS = bindings("dialog")

    def __init__(
        self, title: str, words: str, value: str = "", check: Callable[[str], object] | None = None
    ) -> None:
        super().__init__()
        self._title = title
        self._words = words
        self._value = value
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content.styled(self._title, "bold"))
            yield Static(Content.styled(self._words, "$muted"))
            field = Input(self._value, compact=True)
            field.cursor_blink = False
            yield field
            yield Notice()
        yield KeyLine([key for key in keys_of("dialog") if key.id.startswith("dialog.")])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_accept()

    def action_accept(self) -> None:
        value = self.query_one(Input).value.strip()
        try:
            if self._check is not None:
                self._check(value)
        except UserError as error:
            self.query_one(Notice).error(error)
            return
        self.dismiss(value)

    def action_cancel(self) -> None:
        self.dismiss(None)
