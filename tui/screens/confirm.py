"""A small window that asks before something is done."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.keymap import bindings, keys_of
from tui.text import hanging, stack
from tui.widgets.choice_list import ChoiceList
from tui.widgets.key_line import KeyLine


class ConfirmScreen(ModalScreen[str | None]):
    """A warning or a question; the result is the id of the choice, or None when it was cancelled.

    Args:
        title: What is likely to go wrong, or what is asked.
        sentences: Why, and what would help or what it means.
        options: Id and words of each choice; of a warning the careful one first.
        warns: It is a warning.
    """

    BINDINGS = bindings("dialog")

    def __init__(
        self, title: str, sentences: list[str], options: list[tuple[str, str]], warns: bool = True
    ) -> None:
        super().__init__()
        self._mark = ("!", "bold $warning") if warns else ("?", "bold $primary")
        self._title = title
        self._sentences = sentences
        self._choices = options

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            width = min(76, self.app.size.width) - 6
            yield Static(
                stack(
                    hanging(*self._mark, self._title, width, "bold"),
                    Content(""),
                    *(hanging(" ", "", sentence, width) for sentence in self._sentences),
                    Content(""),
                ),
                markup=False,
            )
            yield ChoiceList(*(Option(Content(words), id=name) for name, words in self._choices))
        yield KeyLine([key for key in keys_of("dialog") if key.id.startswith("dialog.")])

    def on_mount(self) -> None:
        choices = self.query_one(ChoiceList)
        choices.highlighted = 0
        choices.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_id)

    def action_accept(self) -> None:
        self.dismiss(self.query_one(ChoiceList).chosen)

    def action_cancel(self) -> None:
        self.dismiss(None)
