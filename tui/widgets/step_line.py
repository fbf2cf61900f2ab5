"""The top line of the wizard: where you are, what is behind you, what is still to come."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget


class StepLine(Widget):
    """All steps with a mark each: ✓ done, ● here, ○ to come. Every step stays at its place.

    Args:
        titles: The steps in order.
        current: Index of the step that is shown.
    """

    DEFAULT_CSS = "StepLine { dock: top; height: 1; padding: 0 1; }"
    can_focus = False

    def __init__(self, titles: Sequence[str], current: int) -> None:
        super().__init__()
        self._titles = titles
        self._current = current

    def render(self) -> Content:
        width = self.size.width
        for brand, gap in (("finetui   ", " ── "), ("finetui   ", " ─ "), ("", " ─ "), ("", " ")):
            line = self._line(brand, gap)
            if line.cell_length <= width:
                return line
        here = f"● {self._titles[self._current]}"
        return Content.assemble((here, "bold $primary"), f"  step {self._current + 1} of {len(self._titles)}")

    def _line(self, brand: str, gap: str) -> Content:
        parts = []
        for index, title in enumerate(self._titles):
            if index == self._current:
                parts.append(Content.assemble(("● " + title, "bold $primary")))
            elif index < self._current:
                parts.append(Content.assemble(("✓ ", "$success"), title))
            else:
                parts.append(Content.styled("○ " + title, "$muted"))
        return Content.assemble((brand, "bold"), Content.styled(gap, "$muted").join(parts))
