"""The file browser: folders to open, and only those files that can be a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.display import printable
from tui.browsing import Entry, Listing, guess_rows, list_folder, size_words
from tui.keymap import bindings
from tui.recent import last_folder, remember_folder
from tui.screens.base import BaseScreen
from tui.text import pad
from tui.widgets.choice_list import ChoiceList
from tui.widgets.path_input import PathInput

UP = "::up"
GUESSED = 100  # files whose rows are guessed; further ones show their size


class BrowseScreen(BaseScreen):
    """Begins in the folder where the user was last.

    Args:
        take: Told the chosen file or folder.
    """

    KEY_GROUPS = ("browse",)
    BINDINGS = bindings("browse")
    DEFAULT_CSS = """
    BrowseScreen ChoiceList { margin: 1 1 0 1; }
    BrowseScreen #note { padding: 0 3; height: auto; }
    BrowseScreen #path { margin: 0 1; }
    """
    HELP = """\
Only folders and files that can be a dataset are shown: JSONL, JSON, CSV, TSV, Parquet, Arrow and plain text, also \
compressed. Numbers of rows that begin with "about" are guessed from the beginning of the file."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self._take = take
        self._folder = last_folder()
        self._hidden = False
        self._listing: Listing | None = None
        self._marked: str | None = None
        self._rows: dict[str, str] = {}

    def head(self) -> Iterable[Widget]:
        yield Static("", id="where", classes="head title", markup=False)

    def body(self) -> ComposeResult:
        yield ChoiceList()
        yield Static("", id="note", markup=False)
        yield PathInput(placeholder="a folder or file; Tab completes, Enter opens it", id="path")

    def on_mount(self) -> None:
        self.query_one("#path").display = False
        self.query_one(ChoiceList).focus()
        self._open(self._folder)

    def on_resize(self, event: events.Resize) -> None:
        self._tell_where()
        choices = self.query_one(ChoiceList)
        for entry in self._listing.entries if self._listing else ():
            choices.replace_option_prompt(entry.path, self._line(entry))

    def _tell_where(self) -> None:
        where = printable(self._folder, max(20, self.size.width - 4))
        self.query_one("#where", Static).update(Content(where))

    def _open(self, folder: Path, marked: str | None = None) -> None:
        self._folder, self._marked, hidden = folder, marked, self._hidden
        self.notice.clear()
        self._tell_where()
        self.in_background(lambda: list_folder(folder, hidden), self._listed, "list")

    def _listed(self, listing: Listing) -> None:
        self._listing, self._rows = listing, {}
        if not listing.problem:
            remember_folder(listing.folder)
        options = [Option(self._line(entry), id=entry.path) for entry in listing.entries]
        if listing.folder.parent != listing.folder:
            options.insert(0, Option(Content("../"), id=UP))
        choices = self.query_one(ChoiceList)
        first = next((entry.path for entry in listing.entries), None)
        choices.fill(options, self._marked or first)
        self.query_one("#note", Static).update(Content.styled(_note(listing), "$muted"))
        files = [entry for entry in listing.entries if not entry.is_folder][:GUESSED]

        def guess() -> list[tuple[Entry, str]]:
            return [(entry, guess_rows(entry.path, entry.size)) for entry in files]

        def guessed(found: list[tuple[Entry, str]]) -> None:
            if self._listing is listing:
                for entry, rows in found:
                    self._rows[entry.path] = rows
                    choices.replace_option_prompt(entry.path, self._line(entry))

        if files:
            self.in_background(guess, guessed, "guess")

    def _line(self, entry: Entry) -> Content:
        rows = self._rows.get(entry.path, "")
        width = max(20, self.size.width - 42)
        name = printable(entry.name, width - 4)
        if entry.is_folder:
            return Content.styled(f"{name}/", "bold $primary")
        return Content.assemble(pad(name, width), (f"  {size_words(entry.size):>9}   {rows}", "$muted"))

    # Keys

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        entry = self._entry(event.option_id)
        if event.option_id == UP:
            self.action_up()
        elif entry is not None and entry.is_folder:
            self._open(Path(entry.path))
        elif entry is not None:
            self._done(entry.path)

    def _entry(self, path: str | None) -> Entry | None:
        entries = self._listing.entries if self._listing else ()
        return next((entry for entry in entries if entry.path == path), None)

    def action_up(self) -> None:
        """Go to the folder above, with this one marked."""
        if self._folder.parent != self._folder:
            self._open(self._folder.parent, str(self._folder))

    def action_hidden(self) -> None:
        """Show hidden files too, or not."""
        self._hidden = not self._hidden
        self.key_line.relabel(browse_hidden="hide hidden files" if self._hidden else "hidden files")
        self._open(self._folder, self.query_one(ChoiceList).chosen)

    def action_take(self) -> None:
        """Take the folder that is shown as one dataset."""
        entries = self._listing.entries if self._listing else ()
        if any(not entry.is_folder for entry in entries):
            self._done(str(self._folder))
        else:
            self.notice.say("There is no file here that can be a dataset.")

    def action_path(self) -> None:
        """Type where it is."""
        field = self.query_one(PathInput)
        field.display = True
        field.value = "" if str(self._folder) == "." else f"{str(self._folder).rstrip('/')}/"
        field.cursor_position = len(field.value)
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        path = Path(event.value.strip()).expanduser()
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except (OSError, ValueError):
            is_folder = exists = False
        if not exists:
            self.notice.say(f"There is nothing at {printable(path, 200)}.")
            return
        self._hide_field()
        if is_folder:
            self._open(path)
        else:
            self._done(str(path))

    def action_back(self) -> None:
        """Leave the field, or the browser."""
        if self.query_one(PathInput).has_focus:
            self._hide_field()
        else:
            self.dismiss(None)

    def _hide_field(self) -> None:
        self.query_one(PathInput).display = False
        self.notice.clear()
        self.query_one(ChoiceList).focus()

    def _done(self, path: str) -> None:
        self.dismiss(None)
        self._take(path)


def _note(listing: Listing) -> str:
    if listing.problem:
        return f"This folder cannot be read: {listing.problem}"
    if listing.left_out:
        return f"{listing.left_out:,} more; type / and the beginning of a name, Tab completes it."
    if not listing.entries:
        return "Nothing here can be a dataset. Backspace goes to the folder above."
    return ""
