"""Say by hand which column is what."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.data.recognise import recognise
from engine.data.shapes import all_shapes
from engine.display import printable
from engine.errors import UserError
from tui.dataset import Head, Wanted
from tui.example import example_lines
from tui.keymap import bindings
from tui.screens.base import BaseScreen
from tui.screens.pick import PickScreen
from tui.text import pad, stack
from tui.widgets.choice_list import ChoiceList

KINDS = {
    "prompt_completion": "A question (or input) and its answer",
    "messages": "A list of turns in one column",
    "text": "One text to read",
    "preference": "A better and a worse answer",
    "labelled": "An answer marked good or bad",
    "prompt_only": "A question, and perhaps its right result",
}
ROLES = {
    "prompt": "question or input", "completion": "answer", "messages": "list of turns", "text": "text",
    "chosen": "better answer", "rejected": "worse answer", "label": "good or bad", "system": "system message",
    "input": "further input", "answer": "right result", "history": "earlier turns", "tools": "functions it may call",
}  # fmt: skip
MOST_COLUMNS = 300  # a table of numbers may have a million
TAKE, NONE = "::take", "::none"


class ColumnsScreen(BaseScreen):
    """For each part of an example: the column it is in, with the first row as it is then read.

    Args:
        head: The first rows.
        take: Told how it is to be read.
    """

    KEY_GROUPS = ("columns", "list")
    BINDINGS = bindings("columns")
    DEFAULT_CSS = (
        "ColumnsScreen ChoiceList { margin: 1 1 0 1; } ColumnsScreen #example { padding: 0 3; height: auto; }"
    )
    HELP = """\
An example has parts, such as a question and an answer. For each part choose the column of your file it is in; parts \
in the lower half of the list may stay empty. The first row is shown as it would be learnt."""

    def __init__(self, head: Head, take: Callable[[Wanted], None]) -> None:
        super().__init__()
        self._head = head
        self._take = take
        self._shapes = {shape.name: shape for shape in all_shapes() if shape.name in KINDS}
        shape, mapping = (head.reading.shape, head.reading.mapping) if head.reading else ("", {})
        self._kind = shape if shape in self._shapes else "prompt_completion"
        self._columns = {role: name for role, name in mapping.items() if role in self._roles}

    def head(self) -> Iterable[Widget]:
        yield Static(Content.styled("Which column is what?", "bold"), classes="head", markup=False)

    def body(self) -> ComposeResult:
        yield ChoiceList()
        yield Static("", id="example", markup=False)

    def on_mount(self) -> None:
        self.query_one(ChoiceList).focus()
        self._tell()

    @property
    def _roles(self) -> tuple[str, ...]:
        shape = self._shapes[self._kind]
        return (*shape.required, *(role for role in shape.optional if role in ROLES))

    @property
    def _missing(self) -> list[str]:
        return [role for role in self._shapes[self._kind].required if role not in self._columns]

    def _tell(self) -> None:
        required = self._shapes[self._kind].required
        options: list[Option | None] = [
            Option(
                Content.assemble(f"{'a row is':<22} ", (KINDS[self._kind], "bold"), ("   k", "$muted")),
                id="::kind",
            )
        ]
        for role in self._roles:
            column = self._columns.get(role)
            empty = "choose a column" if role in required else "none"
            shown = (printable(column, 40), "bold") if column else (empty, "$muted")
            options.append(Option(Content.assemble(f"{ROLES.get(role, role):<22} ", shown), id=role))
        options += [None, Option(Content.styled("Read the rows so", "bold"), id=TAKE)]
        self.query_one(ChoiceList).fill(options)
        self.query_one("#example", Static).update(self._example())

    def _example(self) -> Content:
        if self._missing:
            words = " and ".join(ROLES.get(role, role) for role in self._missing)
            return Content.styled(f"Still needed: {words}.", "$muted")
        rows = self._head.rows
        try:
            reading = recognise(rows, printable(self._head.wanted.path, 300), None, self._columns, self._kind)
        except UserError as error:
            return Content.styled(printable(error.what, 300), "$warning")
        share = f"{100 * reading.usable:.0f} % of the first {len(rows):,} rows can be used so."
        return stack(
            Content.styled(share, "$muted"),
            *example_lines(reading.example(rows), self.size.width - 8, 160, 4),
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id == "::kind":
            self.action_kind()
        elif event.option_id == TAKE:
            self._done()
        elif event.option_id is not None:
            self._ask(event.option_id)

    def action_kind(self) -> None:
        """Choose what a row is."""
        options = [Option(Content(words), id=name) for name, words in KINDS.items() if name in self._shapes]

        def got(kind: str | None) -> None:
            if kind is not None:
                self._kind = kind
                self._columns = {role: name for role, name in self._columns.items() if role in self._roles}
                self._tell()

        self.app.push_screen(PickScreen("What is a row?", "", options, self._kind), got)

    def _ask(self, role: str) -> None:
        options = []
        for column in self._head.columns[:MOST_COLUMNS]:
            value = next((row[column] for row in self._head.rows if row.get(column) not in (None, "")), "")
            sample = printable(str(value)[:200].replace("\n", " "), 40)
            options.append(
                Option(Content.assemble(pad(printable(column, 24), 26), (sample, "$muted")), id=column)
            )
        if role not in self._shapes[self._kind].required:
            options.append(Option(Content("no column"), id=NONE))

        def got(column: str | None) -> None:
            if column == NONE:
                self._columns.pop(role, None)
            elif column is not None:
                self._columns[role] = column
            self._tell()

        title = f"Which column is the {ROLES.get(role, role)}?"
        self.app.push_screen(PickScreen(title, "", options, self._columns.get(role)), got)

    def _done(self) -> None:
        if self._missing:
            words = " and ".join(ROLES.get(role, role) for role in self._missing)
            self.notice.say(f"Choose a column for: {words}.")
            return
        before = self._head.wanted
        wanted = Wanted(before.path, tuple(self._columns.items()), self._kind, None, before.goal)
        self.dismiss(None)
        self._take(wanted)

    def action_back(self) -> None:
        """Change nothing."""
        self.dismiss(None)
