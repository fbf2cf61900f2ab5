"""Where a model finds no room on the graphics card: the processor is offered."""

from __future__ import annotations

from collections.abc import Callable

from engine.deliver.room import CardFullError
from engine.display import printable
from engine.errors import UserError
from tui.screens.base import BaseScreen
from tui.screens.confirm import ConfirmScreen


def offer_processor(screen: BaseScreen, error: UserError, accepted: Callable[[], None]) -> None:
    """Ask whether to go on with the processor where that helps, and leave the screen if not; else show the error.

    Args:
        screen: Where it happened.
        error: What went wrong.
        accepted: Called when the processor is wanted.
    """
    if not isinstance(error, CardFullError):
        screen.show_error(error)
        return

    def answered(answer: str | None) -> None:
        if answer == "cpu":
            accepted()
        else:
            screen.app.pop_screen()

    options = [("cpu", "Use the processor: slower, and the card is left alone"), ("back", "Not now")]
    title = "There is no room on the graphics card."
    screen.app.push_screen(ConfirmScreen(title, [printable(error.what, 400)], options), answered)
