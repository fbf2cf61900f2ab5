"""Enter that was pressed before the next screen stood belongs to that screen."""

from __future__ import annotations

from typing import Any

from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, OptionList

ENTERS = (OptionList.OptionSelected, Input.Submitted)


class TypedAhead(Screen[Any]):
    """A screen that hands on what it is still asked after it was left.

    Keys reach a screen through queues, so the second of two quick Enters may be told to the screen that the first one has
    left; taken there it would open the next screen twice. A dialog names it after `ModalScreen`, since Textual takes the
    style of a screen from the first class it names.
    """

    async def _dispatch_message(self, message: Message) -> None:
        if isinstance(message, ENTERS) and self.app.is_running and self.app.screen is not self:
            self.app.simulate_key("enter")
            return
        await super()._dispatch_message(message)
