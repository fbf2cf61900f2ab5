"""Home: a new fine-tune, the demo, and every run there is."""

from __future__ import annotations

import time
from collections.abc import Iterable

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.display import printable
from engine.run.state import RunState, list_runs
from tui.keymap import bindings
from tui.screens.base import BaseScreen
from tui.text import hanging
from tui.widgets.choice_list import ChoiceList
from tui.wizard_steps import title_of

REFRESH_EVERY = 2.0  # seconds
STATE_STYLE = {"running": "$success", "starting": "$success", "finished": "$foreground", "new": "$muted"}
GONE_WRONG = ("failed", "died", "silent")

WELCOME = """\
finetui teaches a language model with your examples, on this machine.

You bring a file of questions and answers. finetui looks at the machine, says
what fits, trains, and shows what happens. Seven short steps; each has a good
answer already filled in, so Enter is enough. Training goes on when you close
this window. Nothing leaves this machine."""


class HomeScreen(BaseScreen):
    """What to do, and what is going on."""

    KEY_GROUPS = ("home", "list")
    BINDINGS = bindings("home")
    HELP = """\
Fine-tuning shows a finished language model examples of how to answer, until it answers like them.

A run is one such training. It is a program of its own: it goes on when you leave finetui or the connection drops. \
Open a run to watch it."""

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[RunState] | None = None

    def head(self) -> Iterable[Widget]:
        yield Static(
            Content.assemble(
                ("finetui", "bold $primary"), ("   fine-tunes language models on this machine", "$muted")
            ),
            classes="head",
        )

    def body(self) -> ComposeResult:
        yield ChoiceList(id="choices")
        yield Static(Content(WELCOME), id="welcome")
        yield Static("", id="about-run", markup=False)

    def on_mount(self) -> None:
        self._show(list_runs())
        self.set_interval(REFRESH_EVERY, self._refresh)
        self.call_after_refresh(self.the_app.look_at_machine)

    def on_screen_resume(self) -> None:
        self.notice.clear()
        if self._runs is not None:
            # Back from the wizard: Enter goes on there, and never throws the answers away.
            self._show(self._runs, force=True)
            choices = self.query_one(ChoiceList)
            choices.highlighted = 0 if self.the_app.has_answers() else choices.highlighted
        self._refresh()

    def on_resize(self, event: events.Resize) -> None:
        if self._runs is not None:
            self._show(self._runs, force=True)

    def _refresh(self) -> None:
        if self.app.screen is self:
            self.in_background(list_runs, self._show, "runs")

    def _show(self, runs: list[RunState], force: bool = False) -> None:
        options = self._actions() + [None] * bool(runs) + [self._run_option(run) for run in runs]
        picture = [None if option is None else (option.id, str(option.prompt)) for option in options]
        if picture == getattr(self, "_picture", None) and not force:
            return
        self._picture, self._runs = picture, runs
        self.query_one(ChoiceList).fill(options)
        self.query_one("#welcome").display = not runs
        self._about()

    def _actions(self) -> list[Option | None]:
        entries = []
        if self.the_app.has_answers():
            at = title_of(self.the_app.the_draft().step)
            entries.append(("continue", "Go on", f"with the fine-tune you began; you were at: {at}"))
        entries.append(("new", "New fine-tune", "seven short steps, each with a good default"))
        entries.append(("demo", "Try the demo", "a tiny model learns to talk like an owl; about a minute"))
        return [Option(_two_columns(title, words), id=f"do:{name}") for name, title, words in entries]

    def _run_option(self, run: RunState) -> Option:
        return Option(run_line(run, self.size.width), id=f"run:{run.name}")

    def _about(self) -> None:
        """What happened to the marked run, where one word does not say it."""
        kind, _, name = (self.query_one(ChoiceList).chosen or "").partition(":")
        run = next((run for run in self._runs or [] if kind == "run" and run.name == name), None)
        about = self.query_one("#about-run", Static)
        about.display = run is not None and run.words != run.state
        if run is not None:
            words = printable(run.words, 300)
            about.update(hanging("→", "bold $primary", f"{run.state}: {words}", self.size.width - 4))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._about()

    # Keys

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        kind, _, name = (self.query_one(ChoiceList).chosen or "do:new").partition(":")
        if kind == "run":
            self.the_app.open_monitor(name)
        elif name == "demo":
            self.action_demo()
        elif name == "continue":
            self.the_app.open_wizard()
        else:
            self.action_new()

    def action_new(self) -> None:
        self.the_app.new_draft()
        self.the_app.open_wizard()

    def action_demo(self) -> None:
        self.notice.say("Starting the demo ...")
        self.the_app.start_demo(self)


def _two_columns(left: str, right: str) -> Content:
    return Content.assemble((f"{left:<22}", "bold"), right)


def run_line(run: RunState, width: int) -> Content:
    """A run in one line: name, state, progress, loss, when."""
    share = f"{100 * run.step / run.max_steps:3.0f} %" if run.max_steps else "     "
    loss = f"loss {run.loss:.3g}" if run.loss is not None else ""
    style = "$error" if run.state in GONE_WRONG else STATE_STYLE.get(run.state, "$foreground")
    model = printable(run.model.rstrip("/").rpartition("/")[2], 60)
    return Content.assemble(
        f"{printable(run.name, 40)[:26]:<28}",
        (f"{run.state:<10}", style),
        f"{share}   ",
        f"{loss:<12} ",
        (f"{ago(run.updated):<12}", "$muted"),
        (model if width >= 100 else "", "$muted"),
    )


def ago(t: float, now: float | None = None) -> str:
    """How long ago a moment was, roughly: ``2 min ago``."""
    seconds = max(0.0, (time.time() if now is None else now) - t)
    if seconds < 60:
        return "just now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return ""
