"""What the screen has to tell: an error in three lines, or one sentence."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.display import printable
from engine.errors import UserError
from tui.text import hanging, stack


class Notice(Static):
    """A place above the bottom line that is only there when there is something to say."""

    DEFAULT_CSS = """
    Notice { dock: bottom; height: auto; max-height: 9; padding: 0 1; margin: 0 0 1 0; display: none; }
    """
    can_focus = False

    def error(self, error: UserError) -> None:
        """Show what is wrong, where, and what to do."""
        width = self._room()
        self._show(
            stack(
                hanging("!", "bold $error", printable(error.what, 400), width, "bold $error"),
                hanging(" ", "", printable(error.where, 300), width, "$muted"),
                hanging("→", "bold $primary", printable(error.fix, 400), width),
            )
        )

    def say(self, text: str) -> None:
        """Show one sentence."""
        self._show(hanging("→", "bold $primary", printable(text, 600), self._room()))

    def clear(self) -> None:
        """Take it away."""
        if self.display:
            self.display = False
            self.update("")

    def _room(self) -> int:
        """Cells of a line: of the screen, or of the dialog it stands in."""
        around = self.parent if isinstance(self.parent, Widget) else self.screen
        return (around.content_size.width or self.screen.size.width) - 2  # nothing is laid out at first

    def _show(self, content: Content) -> None:
        self.update(content)
        self.display = True
