"""A list to choose from, with a mark in front of the chosen line, so that it is seen without colours too."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widgets import OptionList
from textual.widgets.option_list import Option

POINTER = "▸"


class ChoiceList(OptionList):
    """Options that arrow keys move through and Enter takes.

    Args:
        options: The options, or None for a blank line between them.
        id: Of the widget.
    """

    def __init__(self, *options: Option | None, id: str | None = None) -> None:
        super().__init__(*options, id=id, markup=False, compact=True)
        self._enters_waiting = 0

    @property
    def chosen(self) -> str | None:
        """The id of the marked option."""
        option = self.highlighted_option
        return option.id if option is not None else None

    def fill(self, options: Iterable[Option | None], chosen: str | None = None) -> None:
        """Replace all options and mark one of them, else the one that was marked, else the first."""
        wanted = [chosen, self.chosen]
        self.set_options(options)
        ids = [option.id for option in self.options]
        found = next((ids.index(one) for one in wanted if one is not None and one in ids), 0)
        self.highlighted = found if ids else None
        if ids and self._enters_waiting:
            self.call_after_refresh(self._catch_up)

    def _catch_up(self) -> None:
        waiting, self._enters_waiting = self._enters_waiting, 0
        if self.has_focus and self.screen.is_current:
            for _ in range(waiting):  # the first of them is this list's, the others those of what it leads to
                self.app.simulate_key("enter")

    def action_select(self) -> None:
        # An Enter that comes before the options must not be lost: whoever knows the way types ahead.
        if self.highlighted is None:
            self._enters_waiting += 1
            return
        super().action_select()

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        line = self.scroll_offset.y + y
        if line >= len(self._lines) or self._lines[line][0] != self.highlighted:
            return strip
        first, *rest = [*strip.crop(0, 1), *strip.crop(1)]
        pointer = POINTER if self._lines[line][1] == 0 else first.text
        # One colour for the whole line: grey words are hard to read on the cursor's background.
        colour = Style(color=first.style.color if first.style else None)
        marked = [
            Segment(pointer, first.style),
            *(Segment(text, (style or Style()) + colour) for text, style, _ in rest),
        ]
        return Strip(marked, strip.cell_length)
