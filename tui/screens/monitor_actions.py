"""What the user can ask of a run: checkpoint, evaluate, pause, resume, stop; and another run to compare with."""

from __future__ import annotations

import os
from collections.abc import Callable

from textual.content import Content
from textual.widgets.option_list import Option

from engine.display import printable
from engine.errors import UserError
from engine.run import control
from engine.run.layout import RunDir
from engine.run.state import RunState, list_runs
from tui.monitor.compare import read_other
from tui.monitor.notes import loss_text
from tui.monitor.watch import Watch
from tui.screens.base import BaseScreen

YES = "yes"
ENDED = ("paused", "stopped", "failed", "died", "new")
"""States of a run that can go on."""


class RunActions(BaseScreen):
    """Asks before anything is done to the run, and says why something cannot be done.

    Args:
        run: Its directory.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self.watch_run = Watch(run)

    # For the screen

    def say(self, text: str) -> None:
        """Show a sentence for a while."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Show what has changed."""
        raise NotImplementedError

    def compare_with(self, other: Watch | None) -> None:
        """Draw another run beside this one, or none."""
        raise NotImplementedError

    # Why not

    def why_not(self, what: str) -> str | None:
        """Why something cannot be asked of the run now; None when it can."""
        status, model = self.watch_run.status, self.watch_run.model
        if not status.live:
            return "The run is not going on."
        if what in status.asked:
            return "That was asked already; it comes after this step."
        if what != "stop-now" and not model.training:
            return "Training has not begun: nothing to save or measure yet."
        if what == "evaluate" and model.eval_rows == 0:
            return "There are no held-out rows to measure on; eval_fraction in run.yaml sets them aside."
        if not os.access(self.run.control, os.W_OK):
            return "The run's folder cannot be written to."
        return None

    def why_no_resume(self) -> str | None:
        """Why the run cannot go on; None when it can."""
        status = self.watch_run.status
        if status.live:
            return "It is going on already; there is nothing to resume."
        if status.state == "finished":
            return "This run is complete; there is nothing to continue."
        return None if status.state in ENDED else "There is no run here that could go on."

    # Actions

    def action_checkpoint(self) -> None:
        self._ask_for(
            "checkpoint", "Save a checkpoint now?",
            ["It is written after this step, and training waits until it is. A run can go on from it."],
            "Save it",
        )  # fmt: skip

    def action_evaluate(self) -> None:
        rows = self.watch_run.model.eval_rows
        those = f"the {rows:,} held-out rows" if rows else "the held-out rows"
        self._ask_for(
            "evaluate", "Measure the loss on held-out rows now?",
            [f"It comes after this step, and training waits while {those} are read."],
            "Measure it",
        )  # fmt: skip

    def action_pause(self) -> None:
        self._ask_for(
            "pause", f"Pause {self.run.name}?",
            [
                "A checkpoint is saved after this step. Then the trainer ends, and the GPU is free for other programs.",
                f"Nothing is lost: r goes on from there, or: finetui resume {self.run.name}",
                "A rented machine costs money while it waits, too.",
            ],
            "Pause it",
        )  # fmt: skip

    def action_stop(self) -> None:
        if not self.watch_run.status.live:
            self.say("The run is not going on, so there is nothing to stop.")
            return
        from tui.screens.stop import StopScreen

        self.app.push_screen(
            StopScreen(self.run.name, self.why_not("stop-and-save"), self._why_not_write()),
            lambda what: self._request(what) if what else None,
        )

    def action_resume(self) -> None:
        if why := self.why_no_resume():
            self.say(why)
            return
        saved = self.watch_run.model.checkpoints
        where = (
            f"the checkpoint of step {saved[-1]:,.0f}"
            if saved
            else "the start, because no checkpoint was saved"
        )
        self._ask(f"Go on with {self.run.name}?", [f"It goes on from {where}."], "Go on", self._resume)

    def _resume(self) -> None:
        def work() -> None:
            from engine.config.resume import resume

            resume(self.run)

        self.say("Starting it again ...")
        self.in_background(work, lambda _: self.notice.clear(), "resume")

    def _ask_for(self, what: str, title: str, sentences: list[str], yes: str) -> None:
        """Ask the user, then the trainer."""
        if why := self.why_not(what):
            self.say(why)
        else:
            self._ask(title, sentences, yes, lambda: self._request(what))

    def _ask(self, title: str, sentences: list[str], yes: str, then: Callable[[], None]) -> None:
        from tui.screens.confirm import ConfirmScreen

        self.app.push_screen(
            ConfirmScreen(title, sentences, [(YES, yes), ("no", "Leave it as it is")], warns=False),
            lambda answer: then() if answer == YES else None,
        )

    def _why_not_write(self) -> str | None:
        return None if os.access(self.run.control, os.W_OK) else "The run's folder cannot be written to."

    def _request(self, what: str) -> None:
        """Drop a request into the run's folder, or say why that makes no sense now."""
        self.watch_run.look()  # the run may have ended while the question was on the screen
        if why := self.why_not(what):
            self.say(why)
            return
        try:
            control.request(self.run, what)
        except OSError as error:
            self.show_error(
                UserError(
                    f"The trainer cannot be asked: {error.strerror}.",
                    str(self.run.control),
                    "Make the folder writable, or free some space.",
                )
            )
            return
        self.watch_run.look()
        self.redraw()

    # Another run

    def pick_other(self) -> None:
        """Let the user choose a run to compare with."""
        self.in_background(list_runs, self._pick_other, "others")

    def _pick_other(self, runs: list[RunState]) -> None:
        from tui.screens.pick import PickScreen

        others = [run for run in runs if run.name != self.run.name and run.state != "new"]
        if not others:
            self.say("There is no other run to compare with.")
            return
        words = "Its loss is drawn dotted beside this one."
        self.app.push_screen(
            PickScreen("Compare with which run?", words, [_option(run) for run in others]),
            lambda name: self._read_other(name) if name else None,
        )

    def _read_other(self, name: str) -> None:
        self.say(f"Reading {name} ...")
        run = RunDir(self.run.path.parent / name)
        self.in_background(lambda: read_other(run, self._is_left), self._other_read, "other")

    def _is_left(self) -> bool:
        return not self.is_attached

    def _other_read(self, other: Watch) -> None:
        self.notice.clear()
        if other.model.loss or other.model.eval_loss:
            self.compare_with(other)
        else:
            self.say(f"{other.run.name} has no loss to compare with.")


def _option(run: RunState) -> Option:
    share = f"{100 * run.step / run.max_steps:.0f} %" if run.max_steps else ""
    loss = f"loss {loss_text(run.loss)}" if run.loss is not None else ""
    name = f"{printable(run.name, 40)[:30]:<32}"
    return Option(Content.assemble((name, "bold"), f"{run.state:<10}{share:>6}   {loss}"), id=run.name)
