"""Home: a new fine-tune, the demo, and every run there is."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.display import printable
from engine.errors import UserError
from engine.run import removing
from engine.run.home import runs_home
from engine.run.layout import RunDir
from engine.run.listing import Curve, Listing
from engine.run.state import RunState
from engine.run.sweeps import Sweep, list_sweeps
from tui import removal
from tui.keymap import bindings
from tui.plot import charset
from tui.run_list import SORTS, Columns, Entry, Sort, arrange, details, heading, run_line, sketch, sweep_line
from tui.screens.base import BaseScreen
from tui.text import hanging, stack
from tui.widgets.choice_list import ChoiceList
from tui.wizard_steps import title_of

REFRESH_EVERY = 2.0  # seconds
FIRST_LOOK = 0.04  # seconds: enough for the newest dozen runs, and the first picture does not wait longer
SLICE = 0.2  # seconds of reading between pictures
BREATH = 0.02  # seconds between slices, for keys
WORDY = 50  # columns from which the things to do are explained beside them
LOW = 16  # rows below which nothing is said about the marked run
ON_RUNS = ("home.mark", "home.compare", "home.remove", "home.resume", "home.path")
ON_ACTIONS = ("home.new", "home.demo")

WELCOME = (
    "finetui teaches a language model with your examples, on this machine.",
    "You bring a file of questions and answers. finetui looks at the machine, says what fits, trains, and shows what "
    "happens. Seven short steps; each has a good answer already filled in, so Enter is enough.",
    "Training goes on when you close this window. Nothing leaves this machine.",
)
AROUND = 8  # rows that the welcome leaves to the rest


class HomeScreen(BaseScreen):
    """What to do, and what is going on."""

    KEY_GROUPS = ("home", "list")
    BINDINGS = bindings("home")
    CSS_PATH = "home.tcss"
    AUTO_FOCUS = "ChoiceList"
    HELP = """\
Fine-tuning shows a finished language model examples of how to answer, until it answers like them.

A run is one such training. It is a program of its own: it goes on when you leave finetui or the connection drops. \
Open a run to watch it.

The states: running; silent (it works, but has said nothing for a while); paused and stopped (it can go on from its last \
checkpoint); finished; failed and died (it ended by a mistake, or was killed; below the list stands why). The loss says how \
surprised the model is by the right answer, lower is better; its curve begins at the left. A sweep is a series of runs that \
differ in a setting; Enter shows them."""

    def __init__(self) -> None:
        super().__init__()
        self._listing = Listing()
        self._sweeps: list[Sweep] = []
        self._entries: list[Entry] = []
        self._sort: Sort = "newest"
        self._words = ""
        self._opened: set[str] = set()
        self._marked: set[str] = set()
        self._sketches: dict[str, tuple[Curve, int, str]] = {}
        self._picture: list[tuple[str | None, Content] | None] = []
        self._starting = False

    def head(self) -> Iterable[Widget]:
        yield Static(
            Content.assemble(
                ("finetui", "bold $primary"), ("   fine-tunes language models on this machine", "$muted")
            ),
            classes="head",
        )

    def body(self) -> ComposeResult:
        field = Input(placeholder="words of a name, state, model or dataset; Esc shows all", id="filter")
        field.cursor_blink = False
        yield field
        yield ChoiceList(id="choices")
        yield Static("", id="welcome", markup=False)
        yield Static("", id="about-run", markup=False)

    def on_mount(self) -> None:
        self._listing.refresh(FIRST_LOOK)
        self._sweeps = list_sweeps()
        self._show()
        self.set_interval(REFRESH_EVERY, self._refresh)
        self.call_after_refresh(self.the_app.look_at_machine)
        self.in_background(removing.empty_trash, lambda _: None, "trash")

    def on_screen_resume(self) -> None:
        self._starting = False
        self.notice.clear()
        if self._picture:
            # Back from the wizard: Enter goes on there, and never throws the answers away.
            self._show()
            choices = self.query_one(ChoiceList)
            choices.highlighted = 0 if self.the_app.has_answers() else choices.highlighted
        self._refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._show()

    # Reading

    def _refresh(self) -> None:
        if self.app.screen is self:
            self.in_background(self._read, self._was_read, "runs")

    def _read(self) -> bool:
        complete = self._listing.refresh(SLICE)
        self._sweeps = list_sweeps()
        if not complete:
            time.sleep(BREATH)
        return complete

    def _was_read(self, complete: bool) -> None:
        self._show()
        if not complete:
            self._refresh()

    # Showing

    def _show(self) -> None:
        states, pending = self._listing.states, self._listing.pending
        self._marked &= {state.name for state in states}
        self._entries = arrange(states, self._sweeps, self._sort, self._words, self._opened)
        width = self.size.width
        room = max(10, width - 6)  # beside the list's own margins and its scroll bar
        lines: list[tuple[str | None, Content] | None] = list(self._actions())
        if states or pending:
            shown = sum(1 if entry.sweep is None else 0 for entry in self._entries)
            title = heading(
                width, shown, len(states) + pending, self._sort, self._words, pending, len(self._marked)
            )
            lines += [None, (None, title), *((entry.id, self._line(entry, width)) for entry in self._entries)]
        self._fill([line and (line[0], line[1].rstrip().truncate(room, ellipsis=True)) for line in lines])
        welcome = self.query_one("#welcome", Static)
        welcome.display = not states and not pending
        welcome.update(_welcome(width, self.size.height - AROUND))
        self.set_class(bool(states or pending), "-runs")
        self._about()

    def _fill(self, lines: list[tuple[str | None, Content] | None]) -> None:
        """Repaint only the lines that changed, as long as they are the same ones."""
        before, self._picture = self._picture, lines
        choices = self.query_one(ChoiceList)
        if [line and line[0] for line in before] != [line and line[0] for line in lines]:
            options = [line and Option(line[1], id=line[0], disabled=line[0] is None) for line in lines]
            was, place = choices.chosen, choices.highlighted or 0
            choices.fill(options)
            if was is not None and was.startswith("run:") and choices.chosen != was and self._entries:
                # That run is gone: stay there, and not on what would begin a new one.
                choices.highlighted = min(place, len(choices.options) - 1)
            return
        index = 0
        for old, new in zip(before, lines, strict=True):
            if new is None:
                continue
            if old is not None and (old[1].plain, old[1].spans) != (new[1].plain, new[1].spans):
                choices.replace_option_prompt_at_index(index, new[1])
            index += 1

    def _actions(self) -> list[tuple[str | None, Content]]:
        entries = []
        if self.the_app.has_answers():
            at = title_of(self.the_app.the_draft().step)
            entries.append(("continue", "Go on", f"with the fine-tune you began; you were at: {at}"))
        entries.append(("new", "New fine-tune", "seven short steps, each with a good default"))
        entries.append(("demo", "Try the demo", "a tiny model learns to talk like an owl, in a minute"))
        wordy = self.size.width >= WORDY
        return [
            (f"do:{name}", Content.assemble((f"{title:<22}", "bold"), words if wordy else ""))
            for name, title, words in entries
        ]

    def _line(self, entry: Entry, width: int) -> Content:
        names = {run.name for run in entry.runs}
        if entry.sweep is not None:
            return sweep_line(entry, width, entry.sweep.name in self._opened, names <= self._marked)
        run = entry.runs[0]
        drawn = self._drawn(run.name, Columns.of(width).curve)
        return run_line(run, width, drawn, run.name in self._marked, entry.indented)

    def _drawn(self, name: str, width: int) -> str:
        """A run's curve in one line, drawn anew only when there is another one."""
        curve = self._listing.curve(name)
        known = self._sketches.get(name)
        if known is None or known[0] is not curve or known[1] != width:
            known = self._sketches[name] = (curve, width, sketch(curve, width, charset()))
        return known[2]

    @property
    def _at(self) -> Entry | None:
        """The run or sweep of the marked line; None on one of the things to do."""
        chosen = self.query_one(ChoiceList).chosen
        return next((entry for entry in self._entries if entry.id == chosen), None)

    def _about(self) -> None:
        """The keys that mean something on the marked line, and what its run is about."""
        entry = self._at
        field = self.query_one("#filter", Input)
        hidden = set(ON_ACTIONS if entry else ON_RUNS)
        if not field.display:
            hidden.add("home.clear")
        if not self._entries and not self._words:
            hidden |= {"home.filter", "home.sort"}
        if len(self._to_compare()) < 2:
            hidden.add("home.compare")
        if self._marked or entry is None or entry.sweep is not None or not _can_resume(entry.runs[0]):
            hidden.add("home.resume")
        self.key_line.hide(*hidden)
        opened = entry is not None and entry.sweep is not None and entry.sweep.name in self._opened
        self.key_line.relabel(home_open="to the list" if field.has_focus else "close" if opened else "open")
        about = self.query_one("#about-run", Static)
        about.display = bool(self._entries) and self.size.height >= LOW
        if entry is None or entry.sweep is not None:
            about.update("")
            return
        run, width = entry.runs[0], self.size.width - 4
        told = run.words != run.state
        about_it = Content(details(run))
        lines = [about_it.truncate(width, ellipsis=True) if told else about_it]
        if told:
            words = printable(run.words, 300)
            words = words if words.startswith(run.state) else f"{run.state}: {words}"
            lines.append(hanging("→", "bold $primary", words, width))
        about.update(stack(*lines))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._about()

    def on_descendant_focus(self) -> None:
        self._about()

    # Keys

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        entry = self._at
        if entry is not None and entry.sweep is not None:
            self._opened ^= {entry.sweep.name}
            self._show()
        elif entry is not None:
            self.the_app.open_monitor(entry.runs[0].name)
        else:
            name = (self.query_one(ChoiceList).chosen or "do:new").partition(":")[2]
            {"demo": self.action_demo, "continue": self.the_app.open_wizard}.get(name, self.action_new)()

    def action_new(self) -> None:
        self.the_app.new_draft()
        self.the_app.open_wizard()

    def action_demo(self) -> None:
        if not self._starting:  # pressed again while the first one works
            self._starting = True
            self.notice.say("Starting the demo ...")
            self.the_app.start_demo(self)

    def show_error(self, error: UserError) -> None:
        self._starting = False
        super().show_error(error)

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        self._show()
        if self._entries:
            self.query_one(ChoiceList).highlighted = self.query_one(ChoiceList).get_option_index(
                self._entries[0].id
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value:
            self.query_one("#filter").display = False
        self.query_one(ChoiceList).focus()

    def action_clear(self) -> None:
        """Show everything again; then take the marks away."""
        self.notice.clear()
        field = self.query_one("#filter", Input)
        if field.display:
            field.value = ""
            field.display = False
            self.query_one(ChoiceList).focus()
        else:
            self._marked.clear()
            self._show()

    def action_sort(self) -> None:
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._show()

    def action_mark(self) -> None:
        entry = self._at
        if entry is None:
            self.notice.say("Move to a run first; marked runs can be compared or deleted together.")
            return
        names = {run.name for run in entry.runs}
        self._marked = self._marked - names if names <= self._marked else self._marked | names
        self._show()
        self.query_one(ChoiceList).action_cursor_down()

    def _chosen(self) -> list[RunState]:
        """The marked runs; without any those of the line the cursor is on."""
        if self._marked:
            return [state for state in self._listing.states if state.name in self._marked]
        return list(self._at.runs) if self._at else []

    def _to_compare(self) -> list[str]:
        """As many as are marked; a single one beside the one of the line the cursor is on."""
        names = [run.name for run in self._chosen()]
        if len(names) == 1 and self._at is not None:
            names += [run.name for run in self._at.runs if run.name not in names]
        return names

    def action_compare(self) -> None:
        names = self._to_compare()
        if len(names) < 2:
            self.notice.say("Mark at least two runs with the space bar, then compare them.")
            return
        from tui.screens.curves import CurvesScreen

        self.app.push_screen(CurvesScreen(names))

    def action_resume(self) -> None:
        entry = self._at
        if entry is None or entry.sweep is not None:
            self.notice.say("Move to a run first; a sweep goes on with: finetui sweep NAME --resume")
            return
        run = entry.runs[0]
        if run.live:
            self.notice.say("It is going on already; Enter watches it.")
            return
        if self._starting:
            return
        self._starting = True

        def work() -> str:
            from engine.config.resume import resume

            resume(RunDir(Path(run.path)))
            return run.name

        self.notice.say(f"Starting {printable(run.name, 80)} again from its last checkpoint ...")
        self.in_background(work, self.the_app.open_monitor, "start")

    def action_path(self) -> None:
        """Say where the folder is, and copy that."""
        from tui.clipboard import copy

        entry = self._at
        if entry is None:
            self.notice.say(f"All runs are in {runs_home()}")
            return
        path = str(entry.sweep.path) if entry.sweep is not None else entry.runs[0].path
        try:
            kept = copy(self.app, path)
        except (OSError, UserError):
            self.notice.say(f"Its folder: {path}")
            return
        self.notice.say(f"Its folder: {path}   Sent to the terminal's clipboard, and written into {kept}")

    def action_remove(self) -> None:
        runs = self._chosen()
        sweep = self._at.sweep if self._at is not None and not self._marked else None
        if not runs:
            self.notice.say("Move to a run first, or mark some with the space bar.")
            return
        folders = [RunDir(Path(run.path)) for run in runs]

        def answered(answer: str | None) -> None:
            if answer == "delete":
                self.notice.say("Deleting ...")
                self.in_background(lambda: removal.remove(folders, sweep), self._removed, "remove")

        def ask(size: int) -> None:
            self.notice.clear()
            if self.is_current:  # not over what was opened meanwhile
                self.app.push_screen(removal.question(folders, size), answered)

        self.notice.say("Looking how large it is ...")
        self.in_background(lambda: removal.size_of(folders), ask, "size")

    def _removed(self, names: list[str]) -> None:
        self._marked -= set(names)
        self.notice.say(removing.removed_words([printable(name, 60) for name in names]))
        self._refresh()


def _welcome(width: int, rows: int) -> Content:
    """As many paragraphs as have room."""
    lines: list[str] = []
    for paragraph in WELCOME:
        more = textwrap.wrap(paragraph, max(10, width - 4))
        if len(lines) + 1 + len(more) > rows:
            break
        lines += [*([""] if lines else []), *more]
    return Content("\n".join(lines))


def _can_resume(run: RunState) -> bool:
    return run.state in ("paused", "stopped", "failed", "died", "new")
