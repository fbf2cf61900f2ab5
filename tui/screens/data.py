"""Data: which file it learns from, what is in it, and whether that can be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.config.draft import DEMO_DATA
from engine.display import gib, printable
from engine.errors import UserError
from tui.dataset import DatasetReport, find_datasets, read_dataset
from tui.keymap import bindings
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.widgets.choice_list import ChoiceList
from tui.widgets.path_input import PathInput

DEMO_TITLE = "The built-in demo data"
ROLE_STYLE = {"assistant": "$success", "user": "$primary", "system": "$warning"}
TALL = 34  # rows of a terminal that has room for several examples
LONGEST_TURN = 600  # characters of a turn that are shown


class DataScreen(WizardStep):
    """A list of files nearby, a field for any other, and the first conversations of the marked one."""

    STEP = "data"
    KEY_GROUPS = ("wizard", "list", "data")
    BINDINGS = bindings("wizard", "data")
    HELP = """\
A dataset is a file of examples: a question (or input) and the answer you want. JSONL has one JSON object a line, such \
as {"prompt": "...", "completion": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}. CSV, JSON, \
Parquet and plain text are read as well. finetui tells the shape by itself.

A good dataset: answers you would be proud of, no contradictions, the difficult cases too."""

    def __init__(self) -> None:
        super().__init__()
        self._nearby: list[Path] = []
        self._row = 0
        self._go_when_read = False

    def question(self) -> ComposeResult:
        yield Static(Content.styled("Which examples should it learn from?", "bold"), classes="asked")
        yield ChoiceList()
        yield PathInput(placeholder="path of the file; Tab completes, Enter reads it", id="path")
        yield Static("", id="about", markup=False)
        yield Static("", id="example", markup=False)

    def ready(self) -> None:
        self.query_one("#path").display = False
        self._fill(self.draft.data_path)
        self.query_one(ChoiceList).focus()
        self.in_background(lambda: find_datasets(Path.cwd()), self._found, "find")

    def on_resize(self, event: events.Resize) -> None:
        self._tell()

    def _found(self, paths: list[Path]) -> None:
        self._nearby = paths
        self._fill(self._path)

    def _fill(self, chosen: str) -> None:
        options = [
            Option(
                Content.assemble(f"{DEMO_TITLE:<36}", ("  answers in the voice of an owl", "$muted")),
                id=DEMO_DATA,
            )
        ]
        paths = [str(path) for path in self._nearby]
        if self.draft.data_path not in (DEMO_DATA, *paths):
            paths.insert(0, self.draft.data_path)
        options += [Option(_file_line(path), id=path) for path in paths]
        self.query_one(ChoiceList).fill(options, chosen)

    @property
    def _path(self) -> str:
        return self.query_one(ChoiceList).chosen or self.draft.data_path

    # Reading

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._row = 0
        self._go_when_read = False
        self.notice.clear()
        self._tell()
        self._read()

    def _read(self) -> None:
        path = self._path
        if self.the_app.dataset(path) is None:
            self.in_background(lambda: read_dataset(path), self._got, "read", self._failed)

    def _got(self, report: DatasetReport) -> None:
        self.the_app.keep_dataset(report)
        self._tell()
        if self._go_when_read and report.path == self._path:
            self.action_next()

    def _failed(self, error: UserError) -> None:
        self._go_when_read = False
        self.query_one("#about", Static).update("")
        self.query_one("#example", Static).update("")
        self.show_error(error)

    def _tell(self) -> None:
        about, example = self.query_one("#about", Static), self.query_one("#example", Static)
        report = self.the_app.dataset(self._path)
        if report is None:
            about.update(Content.styled("Reading ...", "$muted"))
            example.update("")
            return
        width = self.size.width - 4
        lines = [hanging("✓", "bold $success", printable(report.words(), 400), width)]
        if report.first.shape.note:
            lines.append(hanging("!", "bold $warning", printable(report.first.shape.note, 300), width))
        about.update(stack(*lines))
        num_shown = 1 if self.size.height < TALL else 4
        rows = [(self._row + by) % len(report.rows) for by in range(min(num_shown, len(report.rows)))]
        example.update(Content("\n\n").join(_example(report, row, width) for row in rows))

    def action_row(self, by: int) -> None:
        """Another conversation of the file."""
        report = self.the_app.dataset(self._path)
        if report is not None:
            self._row = (self._row + by) % len(report.rows)
            self._tell()

    # Another path

    def action_path(self) -> None:
        field = self.query_one(PathInput)
        field.display = True
        field.focus()

    def action_back(self) -> None:
        field = self.query_one(PathInput)
        if field.has_focus:
            field.display = False
            self.notice.clear()
            self.query_one(ChoiceList).focus()
        else:
            super().action_back()

    def submitted(self, value: str) -> None:
        self.notice.clear()
        path = value.strip()
        if path:
            self.in_background(lambda: read_dataset(path), self._typed, "read")

    def _typed(self, report: DatasetReport) -> None:
        self.the_app.keep_dataset(report)
        self.draft.data_path = report.path
        self.query_one(PathInput).display = False
        self._fill(report.path)
        self.query_one(ChoiceList).focus()
        self._tell()

    def accept(self) -> bool:
        path = self._path
        if self.the_app.dataset(path) is None:
            self._go_when_read = True
            self._read()
            return False
        self.draft.data_path = path
        return True


def _file_line(path: str) -> Content:
    file = Path(path).expanduser()
    try:
        size = (
            gib(file.stat().st_size)
            if file.stat().st_size >= 2**20
            else f"{file.stat().st_size / 1024:.0f} KiB"
        )
    except OSError:
        size = "not found"
    try:
        shown = str(file.absolute().relative_to(Path.cwd()))
    except ValueError:
        shown = path
    return Content.assemble(f"{printable(shown, 200):<36}", (f"  {size:>8}", "$muted"))


def _example(report: DatasetReport, row: int, width: int) -> Content:
    number, content = report.numbers[row], report.rows[row]
    title = f"Example {row + 1:,} of {len(report.rows):,}, {report.first.unit} {number} of the file"
    lines = [Content.styled(title, "$muted")]
    if "text" in content:
        lines.append(_turn("text", content["text"], width))
    else:
        lines += [_turn(str(turn.get("role")), turn.get("content"), width) for turn in content["messages"]]
    return stack(*lines)


def _turn(role: str, content: Any, width: int) -> Content:
    text = content if isinstance(content, str) else str(_parts(content))
    style = ROLE_STYLE.get(role, "$foreground")
    return hanging(
        f"{printable(role, 9):<9}", f"bold {style}", printable(text.replace("\n", " ⏎ "), LONGEST_TURN), width
    )


def _parts(content: Any) -> Any:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content
