"""Which way to read the rows: every possible reading with one example as it would be learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.advise.objectives import OBJECTIVES
from engine.data.recognise import Reading
from engine.display import printable
from tui.dataset import DatasetReport, Head, Wanted, asking_for, readings_of
from tui.example import example_lines
from tui.keymap import bindings
from tui.screens.base import BaseScreen
from tui.screens.columns import ColumnsScreen
from tui.text import stack
from tui.widgets.choice_list import ChoiceList

BY_HAND = "::columns"
MOST_LINES, MOST_LETTERS = 4, 160  # of an example


class ReadingsScreen(BaseScreen):
    """Asks how the rows are meant.

    Args:
        report: The dataset as it is read now.
        take: Told how it is to be read.
    """

    KEY_GROUPS = ("readings", "list")
    BINDINGS = bindings("readings")
    DEFAULT_CSS = "ReadingsScreen VerticalScroll { padding: 1; }"
    HELP = """\
A table does not say what its columns mean. Here every way in which finetui could read them is shown with the first \
row of your file as the model would see it. If none is right, the last line lets you say which column is what."""

    def __init__(self, report: DatasetReport, take: Callable[[Wanted], None]) -> None:
        super().__init__()
        self._report = report
        self._take = take
        self._readings = readings_of(report)

    def head(self) -> Iterable[Widget]:
        yield Static(Content.styled("How are the rows meant?", "bold"), classes="head", markup=False)

    def body(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield ChoiceList()

    def on_mount(self) -> None:
        rows = [row for _, row in self._report.first.rows]
        width = self.size.width - 8
        options: list[Option | None] = []
        for number, reading in enumerate(self._readings):
            options += [
                Option(_option(reading, reading.example(rows), width, number == 0), id=str(number)),
                None,
            ]
        words = "None of these: say which column is what"
        options.append(Option(Content.styled(words, "bold"), id=BY_HAND))
        choices = self.query_one(ChoiceList)
        choices.fill(options, "0")
        choices.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(None)
        if event.option_id == BY_HAND:
            first = self._report.first
            head = Head(self._report.wanted, tuple(row for _, row in first.rows), first.reading)
            self.app.push_screen(ColumnsScreen(head, self._take))
        else:
            self._take(asking_for(self._readings[int(event.option_id or 0)], self._report))

    def action_back(self) -> None:
        """Change nothing."""
        self.dismiss(None)


def _option(reading: Reading, example: list[tuple[str, str]], width: int, present: bool) -> Content:
    title = reading.reason.rstrip(".") if reading.use else printable(reading.title, 120)
    title = title[:1].upper() + title[1:]
    use = (
        f"   to {OBJECTIVES[reading.objectives[0]].title.lower()}"
        if reading.objectives
        else "   cannot be trained on"
    )
    head = Content.assemble((title, "bold"), (use + ("   (as it is read now)" if present else ""), "$muted"))
    lines = [head, *example_lines(example, width, MOST_LETTERS, MOST_LINES, "  ")]
    return stack(*lines) if example else stack(head, Content.styled("  no row can be read so", "$muted"))
