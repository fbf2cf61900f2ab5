"""The text field of a conversation: one line to look at, as many as were pasted to send."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

BREAK = "⏎"  # in the field, where a new line begins


class PromptInput(Input):
    """Keeps all lines of what is pasted into it, where the plain field would take the first one and drop the rest."""

    @property
    def words(self) -> str:
        """What was typed and pasted, with its line breaks."""
        return self.value.replace(BREAK, "\n")

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()  # the plain field's own, which is called here with other text
        super()._on_paste(events.Paste(BREAK.join(event.text.splitlines())))
