"""Data: which examples it learns from, what is in them, and whether they can be trained on."""

from __future__ import annotations

import os
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.advise.objectives import OBJECTIVES
from engine.config.draft import DEMO_DATA
from engine.data.sources import is_hub_id
from engine.display import printable
from engine.errors import UserError
from engine.hub.task import Progress
from tui.browsing import size_words
from tui.dataset import DatasetReport, Head, Wanted, find_datasets, head_of, read_dataset, spoken, wanted_of
from tui.example import example_lines
from tui.hub import HubLink, fetch_dataset, given_up
from tui.keymap import bindings
from tui.recent import recent_datasets, remember_dataset
from tui.screens.browse import BrowseScreen
from tui.screens.columns import ColumnsScreen
from tui.screens.findings import FindingsScreen
from tui.screens.hub_search import HubSearchScreen
from tui.screens.readings import ReadingsScreen
from tui.screens.wizard import WizardStep
from tui.text import hanging, pad, stack
from tui.widgets.choice_list import ChoiceList
from tui.widgets.path_input import PathInput

DEMO_TITLE = "The built-in demo data"
BROWSE, HUB = "::browse", "::hub"
ACTIONS = {
    BROWSE: ("Browse the files of this machine ...", "b", "Opens the folder where you were last. Only files that can be a dataset are shown."),
    HUB: ("Search the Hugging Face Hub ...", "h", "Thousands of public datasets. The one you take is downloaded, and then read."),
}  # fmt: skip
TALL = 34  # rows of a terminal that has room for several examples
LONGEST_TURN, SHORT_TURN = 600, 320  # characters of a turn that are shown
MOST_NEARBY = 12
FAILED = "c looks at every row, names what is wrong, and can write a repaired copy."
OF_A_FILE = ("mapping", "format", "objective")  # settings that are about one file, read in one way
FILE_ONLY = ("data.check", "data.row", "data.reading")


class DataScreen(WizardStep):
    """A list of datasets at hand, ways to others, and the first examples of the marked one."""

    STEP = "data"
    KEY_GROUPS = ("wizard", "data", "list")
    BINDINGS = bindings("wizard", "data")
    HELP = """\
A dataset is a file of examples: a question (or input) and the answer you want. JSONL has one JSON object a line, such \
as {"prompt": "...", "completion": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}. CSV, JSON, \
Parquet and plain text are read as well. finetui tells the shape by itself, and asks where there are two ways.

A good dataset: answers you would be proud of, no contradictions, the difficult cases too. #1000 behind a typed path \
takes 1,000 of its rows at random."""

    def __init__(self) -> None:
        super().__init__()
        self._nearby: list[Path] = []
        self._row = 0
        self._asked: dict[str, Wanted] = {}  # how datasets are to be read, where the user has said it
        self._link = HubLink()
        self._progress = ""

    def question(self) -> ComposeResult:
        yield Static(Content.styled("Which examples should it learn from?", "bold"), classes="asked")
        yield ChoiceList()
        yield PathInput(placeholder="path or Hub id; Tab completes, Enter reads it", id="path")
        yield Static("", id="about", markup=False)
        yield Static("", id="example", markup=False)

    def ready(self) -> None:
        self.query_one("#path").display = False
        self._fill(self.draft.data_path)
        self.query_one(ChoiceList).focus()
        self.in_background(lambda: find_datasets(Path.cwd()), self._found, "find")

    def on_unmount(self) -> None:
        self._link.close()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < TALL, "-low")
        self._tell()

    def _found(self, paths: list[Path]) -> None:
        self._nearby = paths
        self._fill(self._path)

    def _fill(self, chosen: str) -> None:
        options: list[Option | None] = [
            Option(
                Content.assemble(f"{DEMO_TITLE:<36}", ("  answers in the voice of an owl", "$muted")),
                id=DEMO_DATA,
            )
        ]
        nearby = [str(path) for path in self._nearby[:MOST_NEARBY]]
        around = {str(Path(path).absolute()) for path in nearby}
        recent = [path for path in recent_datasets() if path not in around and path != DEMO_DATA]
        paths = [*recent, *nearby]
        if chosen not in (DEMO_DATA, *ACTIONS, *paths):
            paths.insert(0, chosen)
        options += [Option(_file_line(path), id=path) for path in paths]
        for name, (title, key, _) in ACTIONS.items():
            options.append(Option(Content.assemble(f"{title:<36}", (f"  {key}", "$muted")), id=name))
        self.query_one(ChoiceList).fill(options, chosen)

    @property
    def _path(self) -> str:
        return self.query_one(ChoiceList).chosen or self.draft.data_path

    @property
    def _wanted(self) -> Wanted:
        path = self._path
        return self._asked.get(path) or wanted_of(self.draft, path)

    @property
    def _report(self) -> DatasetReport | None:
        """What is known of the marked dataset, read as it is wanted."""
        report = self.the_app.dataset(self._path)
        return report if report is not None and report.wanted == self._wanted else None

    # Reading

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._row = 0
        self.going = False
        self.notice.clear()
        self._read()

    def _read(self) -> None:
        self._progress = ""
        self._tell()
        wanted = self._wanted
        if wanted.path in ACTIONS or self._report is not None:
            return
        task = self._link.task(
            lambda progress: self._deliver(wanted != self._wanted, self._downloading, progress)
        )

        def work() -> DatasetReport | None:
            if (
                is_hub_id(wanted.path)
                and given_up(lambda: fetch_dataset(self._link, wanted.spec, task)) is None
            ):
                return None
            return read_dataset(wanted)

        self.in_background(work, self._got, "read", self._failed)

    def _downloading(self, progress: Progress) -> None:
        self._progress = progress.line() if progress.total else progress.words
        self._tell()

    def _got(self, report: DatasetReport | None) -> None:
        if report is None:
            return
        self.the_app.keep_dataset(report)
        self._tell()
        if self.going and report.wanted == self._wanted:
            self.action_next()

    def _failed(self, error: UserError) -> None:
        self.going = False
        self._progress = ""
        exists = is_hub_id(self._path) or os.path.exists(os.path.expanduser(self._path))
        words = f"{FAILED} r: say which column is what." if exists else ""
        self.query_one("#about", Static).update(hanging("→", "bold $primary", words, self.size.width - 4))
        self.query_one("#example", Static).update("")
        self.show_error(error)

    # What is shown

    def _tell(self) -> None:
        about, example = self.query_one("#about", Static), self.query_one("#example", Static)
        width = self.size.width - 4
        action = ACTIONS.get(self._path)
        self.key_line.hide(*(FILE_ONLY if action else ()))
        self.key_line.relabel(wizard_next="open" if action else "next")
        report = self._report
        if action is not None or report is None:
            words = action[2] if action else self._progress or "Reading ..."
            about.update(
                hanging("→", "$muted", words, width, "$muted") if action else Content.styled(words, "$muted")
            )
            example.update("")
            return
        about.update(stack(*self._about(report, width)))
        num_shown, letters = (1, SHORT_TURN) if self.size.height < TALL else (4, LONGEST_TURN)
        rows = [(self._row + by) % len(report.rows) for by in range(min(num_shown, len(report.rows)))]
        example.update(Content("\n\n").join(_example(report, row, width, letters) for row in rows))

    def _about(self, report: DatasetReport, width: int) -> list[Content]:
        reading = report.first.reading
        mark, style = ("!", "bold $warning") if report.loses_much else ("✓", "bold $success")
        lines = [hanging(mark, style, printable(report.words(), 400), width)]
        if report.loses_much:
            words = "Perhaps the file mixes rows of several kinds: c lists what is wrong, r reads them in another way."
            lines.append(hanging("→", "bold $primary", words, width))
        if report.asks:
            words = f"It can also be read as {printable(reading.alternatives[0].title, 100)}. Enter asks which is meant (r)."
            lines.append(hanging("?", "bold $warning", words, width))
        elif report.path != DEMO_DATA:
            use = OBJECTIVES[report.objective]
            why = printable(report.why, 300) if self.draft.goal else use.words
            lines.append(hanging("→", "bold $primary", f"{use.title}: {why}", width))
        notes = [reading.note] if reading.note else []
        return lines + [
            hanging("!", "bold $warning", printable(note, 300), width)
            for note in [*notes, *report.first.notes]
        ]

    def action_row(self, by: int) -> None:
        """Another conversation of the file."""
        report = self._report
        if report is not None:
            self._row = (self._row + by) % len(report.rows)
            self._tell()

    # Other datasets

    def _take(self, path: str) -> None:
        """Mark a dataset found elsewhere; it is read at once."""
        self._asked.pop(path, None)
        self._fill(path)
        self.query_one(ChoiceList).focus()
        self._read()

    def action_browse(self) -> None:
        """Look for a file in the folders."""
        self.app.push_screen(BrowseScreen(self._take))

    def action_hub(self) -> None:
        """Search the Hub."""
        self.app.push_screen(HubSearchScreen("dataset", self._take))

    def action_path(self) -> None:
        """Type a path."""
        field = self.query_one(PathInput)
        field.display = True
        field.focus()

    def action_back(self) -> None:
        """Leave the field, or this step."""
        field = self.query_one(PathInput)
        if field.has_focus:
            field.display = False
            self.notice.clear()
            self.query_one(ChoiceList).focus()
        else:
            super().action_back()

    def submitted(self, value: str) -> None:
        """A typed path: taken once it could be read, so that a mistake can be mended in the field."""
        self.notice.clear()
        path = value.strip()
        if not path:
            return
        if is_hub_id(path):
            self._typed(path)
            return
        wanted = Wanted(path, goal=self.draft.goal)

        def read(report: DatasetReport) -> None:
            self.the_app.keep_dataset(report)
            self._typed(path)

        self.in_background(lambda: read_dataset(wanted), read, "read")

    def _typed(self, path: str) -> None:
        self.query_one(PathInput).display = False
        self._take(path)

    # Looking closer

    def action_reading(self) -> None:
        """Choose how the rows are read."""
        report, wanted = self._report, self._wanted
        if report is not None:
            self.app.push_screen(ReadingsScreen(report, self._read_as))
        elif wanted.path not in ACTIONS:
            self.in_background(lambda: head_of(wanted), self._assign, "head")

    def _assign(self, head: Head) -> None:
        self.app.push_screen(ColumnsScreen(head, self._read_as))

    def _read_as(self, wanted: Wanted) -> None:
        self._asked[wanted.path] = wanted
        self._row = 0
        self.notice.clear()
        self._read()

    def action_check(self) -> None:
        """Check every row."""
        if self._path not in ACTIONS:
            self.app.push_screen(FindingsScreen(self.draft, self._wanted, self._report, self._take))

    # The way on

    def accept(self) -> bool:
        path = self._path
        if path in ACTIONS:
            if path == BROWSE:
                self.action_browse()
            else:
                self.action_hub()
            return False
        report = self._report
        if report is None:
            self.going = True
            self._read()
            return False
        if report.asks:
            self.action_reading()
            return False
        self._keep(report.wanted)
        return True

    def _keep(self, wanted: Wanted) -> None:
        settings = self.draft.settings
        if wanted.path != self.draft.data_path or wanted.path in self._asked:
            for key in OF_A_FILE:
                settings.pop(key, None)
        self.draft.data_path = wanted.path
        settings.update(wanted.settings)
        if wanted.path != DEMO_DATA:
            remember_dataset(wanted.path)


def _file_line(path: str) -> Content:
    if is_hub_id(path):
        return Content.assemble(pad(printable(path, 200), 36), ("  Hugging Face Hub", "$muted"))
    file = Path(path).expanduser()
    try:
        size = "folder" if file.is_dir() else size_words(file.stat().st_size)
    except (OSError, ValueError):
        size = "not found"
    try:
        shown = str(file.absolute().relative_to(Path.cwd()))
    except ValueError:
        shown = path
    return Content.assemble(pad(printable(shown, 200), 36), (f"  {size:>8}", "$muted"))


def _example(report: DatasetReport, row: int, width: int, letters: int) -> Content:
    number = report.numbers[row]
    title = f"Example {row + 1:,} of {len(report.rows):,}, {printable(report.first.place(number), 80)} of the file"
    return stack(
        Content.styled(title, "$muted"), *example_lines(spoken(report.rows[row]), width, LONGEST_TURN)
    )
