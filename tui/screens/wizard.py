"""The frame of every step of the wizard: where you are on top, the keys at the bottom, one question in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, OptionList

from engine.errors import UserError
from tui.screens.base import BaseScreen
from tui.widgets.step_line import StepLine
from tui.wizard_steps import PAGES, STEPS, TITLES, step_screen

if TYPE_CHECKING:
    from engine.config.draft import Draft


class Body(VerticalScroll, can_focus=False):
    """The middle of a step; it scrolls when the terminal is too small for it."""


class WizardStep(BaseScreen):
    """One step. Its answers live in the draft, so going back and forth builds screens anew and loses nothing.

    Attributes:
        STEP: Its name in the draft.
        going: It was asked for the next step, and goes there when it has read what it needs.
    """

    STEP: ClassVar[str] = ""
    going = False

    @property
    def draft(self) -> Draft:
        return self.the_app.the_draft()

    def head(self) -> Iterable[Widget]:
        yield StepLine(TITLES, PAGES[self.STEP])

    def body(self) -> ComposeResult:
        with Body(id="body"):
            yield from self.question()

    def question(self) -> ComposeResult:
        """What this step asks."""
        return ()

    def on_mount(self) -> None:
        self.draft.step = self.STEP
        self.keep_draft()
        self.ready()

    def ready(self) -> None:
        """Fill the screen; called once it is mounted."""

    def accept(self) -> bool:
        """Put what is shown into the draft; False when it cannot be used, with the reason on screen."""
        return True

    # The way

    def action_next(self) -> None:
        self.notice.clear()
        if self.accept():
            self.go(1)

    def action_back(self) -> None:
        self.go(-1)

    def go(self, by: int) -> None:
        """To the next step or the one before; before the first is Home."""
        index = STEPS.index(self.STEP) + by
        self.keep_draft()
        if index < 0:
            self.app.pop_screen()
        else:
            self.app.switch_screen(step_screen(STEPS[index]))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_next()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        # textual calls this for every class of a screen that defines it, so subclasses override `submitted` instead.
        event.stop()
        self.submitted(event.value)

    def submitted(self, value: str) -> None:
        """Enter in a text field."""
        self.action_next()

    def keep_draft(self) -> None:
        """Write the draft to disk; a disk that cannot be written is no reason to stop."""
        from engine.config.draft import save_draft

        try:
            save_draft(self.draft)
        except UserError as error:
            self.show_error(error)

    def leaving(self) -> Iterable[str]:
        self.keep_draft()
        return ("Your answers are kept. Go on with: finetui",)
