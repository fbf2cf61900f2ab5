"""Done: what came out of a run, where it is, and what to do with it."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.run.layout import RunDir
from tui.keymap import bindings
from tui.monitor.model import MonitorModel
from tui.monitor.result import result_rows
from tui.monitor.watch import Watch
from tui.screens.base import BaseScreen
from tui.widgets.pager import Pager


class DoneScreen(BaseScreen):
    """The result of a finished run.

    Args:
        run: Its directory.
        model: What its events told; read here when it is not known yet.
        price_per_hour: What the machine costs, if known.
    """

    KEY_GROUPS = ("done",)
    BINDINGS = bindings("done")
    CSS_PATH = "done.tcss"
    AUTO_FOCUS = "Pager"
    HELP = """\
The held-out rows were never learned from, so their loss tells how the model does on questions it has not seen. \
The answers before and after say what numbers cannot.

An adapter is the small part that was learned; it is loaded together with the base model."""

    def __init__(
        self, run: RunDir, model: MonitorModel | None = None, price_per_hour: float | None = None
    ) -> None:
        super().__init__()
        self.run = run
        self._model = model
        self._price_per_hour = price_per_hour

    def head(self) -> Iterable[Widget]:
        yield Static(
            Content.assemble(("✓ ", "bold $success"), (self.run.name, "bold"), " is trained."), classes="head"
        )

    def body(self) -> ComposeResult:
        yield Pager()

    def on_mount(self) -> None:
        if self._model is None:
            self.query_one(Pager).show([(("Reading the run ...", "$muted"),)])
            self.in_background(self._read, self._show, "read")
        else:
            self._show(self._model)

    def _read(self) -> MonitorModel:
        watch = Watch(self.run)
        while watch.read():
            pass
        return watch.model

    def _show(self, model: MonitorModel) -> None:
        self._model = model
        self.query_one(Pager).show(result_rows(self.run, model, self._price_per_hour))

    # Keys

    def action_home(self) -> None:
        self.app.pop_screen()

    def action_chat(self) -> None:
        self.notice.say(f"Leave with q, then talk to it on the command line: finetui chat {self.run.name}")

    def action_new(self) -> None:
        app = self.the_app
        app.pop_screen()
        app.new_draft()
        app.open_wizard()

    def leaving(self) -> Iterable[str]:
        return (f"{self.run.name} is finished. Talk to it: finetui chat {self.run.name}",)
