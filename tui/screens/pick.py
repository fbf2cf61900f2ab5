"""A small window to choose one line of a list."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.keymap import bindings, keys_of
from tui.widgets.choice_list import ChoiceList
from tui.widgets.key_line import KeyLine


class PickScreen(ModalScreen[str | None]):
    """Asks for one of several; the result is its id, or None when it was cancelled.

    Args:
        title: The question.
        words: A sentence or two below it.
        options: What there is.
        chosen: Id of the option that is marked at first.
    """

    BINDINGS = bindings("dialog")

    def __init__(self, title: str, words: str, options: Iterable[Option], chosen: str | None = None) -> None:
        super().__init__()
        self._title = title
        self._words = words
        self._options = list(options)
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content.styled(self._title, "bold"), markup=False)
            yield Static(Content(self._words), markup=False)
            yield Static("")
            yield ChoiceList()
        yield KeyLine(
            [*keys_of("list")[:1], *(key for key in keys_of("dialog") if key.id.startswith("dialog."))]
        )

    def on_mount(self) -> None:
        choices = self.query_one(ChoiceList)
        choices.fill(self._options, self._chosen)
        choices.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_id)

    def action_accept(self) -> None:
        self.dismiss(self.query_one(ChoiceList).chosen)

    def action_cancel(self) -> None:
        self.dismiss(None)
