"""Done: what came out of a run, and the four steps from there: compare, evaluate, export, take home."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.deliver.at_home import Standing, done, mark_done, standing
from engine.deliver.evaluate.report import newest
from engine.run import atomic
from engine.run.layout import RunDir
from tui.keymap import bindings
from tui.monitor.model import MonitorModel
from tui.monitor.result import Steps, result_rows
from tui.monitor.watch import Watch
from tui.screens.base import BaseScreen
from tui.widgets.pager import Pager


class DoneScreen(BaseScreen):
    """The result of a finished run, or of a stopped one that has a checkpoint.

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
Four steps lead from a trained model to one that you use: see what changed (compare), measure it on questions it has never \
seen (evaluate), make files that other programs run (export), copy them to your computer (take home).

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
        yield Static(_head(self.run), classes="head", markup=False)

    def body(self) -> ComposeResult:
        yield Pager()

    def on_mount(self) -> None:
        self.query_one(Pager).show([(("Reading the run ...", "$muted"),)])

    def on_screen_resume(self) -> None:
        # Also on the way back from a step, which may have changed what is done.
        self.in_background(self._read, self._show, "read")

    def _read(self) -> tuple[MonitorModel, Steps]:
        model = self._model
        if model is None:
            watch = Watch(self.run)
            while watch.read():
                pass
            model = watch.model
        return model, steps_of(self.run, standing(self.run))

    def _show(self, found: tuple[MonitorModel, Steps]) -> None:
        self._model, steps = found
        self.query_one(Pager).show(result_rows(self.run, self._model, steps, self._price_per_hour))

    # Keys

    def action_home(self) -> None:
        self.app.pop_screen()

    def action_chat(self) -> None:
        from tui.screens.chat import ChatScreen

        self.app.push_screen(ChatScreen(self.run))

    def action_compare(self) -> None:
        from tui.screens.compare import CompareScreen

        mark_done(self.run, "compare")
        self.app.push_screen(CompareScreen(self.run))

    def action_evaluate(self) -> None:
        from tui.screens.evaluate import EvaluateScreen

        self.app.push_screen(EvaluateScreen(self.run))

    def action_export(self) -> None:
        from tui.screens.export import ExportScreen

        self.app.push_screen(ExportScreen(self.run))

    def action_take_home(self) -> None:
        from tui.screens.take_home import TakeHomeScreen

        self.app.push_screen(TakeHomeScreen(self.run))

    def action_new(self) -> None:
        app = self.the_app
        app.pop_screen()
        app.new_draft()
        app.open_wizard()

    def leaving(self) -> Iterable[str]:
        told = "is finished" if _is_finished(self.run) else "has a checkpoint"
        return (f"{self.run.name} {told}. Talk to it: finetui chat {self.run.name}",)


def steps_of(run: RunDir, found: Standing) -> Steps:
    """How far the user is, in words."""
    looked = done(run)
    failed = [one for one in found.exports if (one.export.proof or {}).get("verdict") == "differs"]
    names = ", ".join(dict.fromkeys(one.export.target for one in found.exports if one.current or one.whole))
    exported = f"done: {names}" if names else "not yet"
    if failed:
        exported = f"CHECK FAILED: {failed[0].export.target} does not answer like the trained model"
    home = (
        "done: what was learned is elsewhere, too"
        if found.safe
        else "not yet: what was learned is only on this machine"
    )
    return Steps(
        compare="looked at" if "compare" in looked else "not yet",
        evaluate=_evaluated(run),
        export=exported,
        export_failed=bool(failed),
        take_home=home,
        safe=found.safe,
    )


def _evaluated(run: RunDir) -> str:
    found = newest(run)
    words = {
        "better": "better",
        "worse": "WORSE",
        "none": "no difference shown",
        "identical": "identical answers",
    }
    return "not yet" if found is None else f"done: {words.get(found.outcome, 'measured')}"


def _is_finished(run: RunDir) -> bool:
    ended = atomic.read_json(run.exit) or {}
    return ended.get("state") in (None, "finished")


def _head(run: RunDir) -> Content:
    if _is_finished(run):
        return Content.assemble(("✓ ", "bold $success"), (run.name, "bold"), " is trained.")
    return Content.assemble(
        ("! ", "bold $warning"), (run.name, "bold"), " did not finish; its newest checkpoint can be used."
    )
