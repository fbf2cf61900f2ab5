"""How to stop a run."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.keymap import bindings, keys_of
from tui.widgets.choice_list import ChoiceList
from tui.widgets.key_line import KeyLine
from tui.widgets.notice import Notice


class StopScreen(ModalScreen[str | None]):
    """Asks how to stop; the result is a request for `engine.run.control`, or None to go on.

    Args:
        name: Of the run.
        no_save: Why it cannot save; None when it can.
        no_request: Why it cannot be asked for anything; None when it can.
    """

    BINDINGS = bindings("dialog")

    def __init__(self, name: str, no_save: str | None = None, no_request: str | None = None) -> None:
        super().__init__()
        self._name_of_run = name
        can_save = no_request or no_save
        self._why_not = {"pause": can_save, "stop-and-save": can_save, "stop-now": no_request}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(
                Content.assemble(("? ", "bold $primary"), (f"Stop {self._name_of_run}?", "bold")),
                markup=False,
            )
            yield ChoiceList(
                self._option(
                    "stop-and-save", "Stop and save", "a checkpoint after this step; resume loses nothing"
                ),
                self._option("stop-now", "Stop now", "what came after the last checkpoint is lost"),
                self._option("pause", "Pause", "as the first, and it says that you mean to go on"),
                Option(_line("Go on", "training was never interrupted"), id="go-on"),
            )
            yield Notice()
        yield KeyLine([key for key in keys_of("dialog") if key.id.startswith("dialog.")])

    def on_mount(self) -> None:
        choices = self.query_one(ChoiceList)
        choices.highlighted = next(
            index for index, option in enumerate(choices.options) if not self._why_not.get(option.id or "")
        )
        choices.focus()

    def _option(self, what: str, title: str, words: str) -> Option:
        why_not = self._why_not[what]
        # Not disabled: it can be marked and then says why it cannot be done.
        return Option(_line(title, f"✗ {why_not}" if why_not else words, muted=bool(why_not)), id=what)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_accept()

    def action_accept(self) -> None:
        what = self.query_one(ChoiceList).chosen or "go-on"
        if why_not := self._why_not.get(what):
            self.query_one(Notice).say(why_not)
        else:
            self.dismiss(None if what == "go-on" else what)

    def action_cancel(self) -> None:
        self.dismiss(None)


def _line(title: str, words: str, muted: bool = False) -> Content:
    style = "$muted" if muted else ""
    return Content.assemble((f"{title:<16}", style or "bold"), (words, style))
