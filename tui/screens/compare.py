"""Compare: the same questions to two models of a run, one question at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.deliver.compare import Compare, Compared, Note, Started, summary
from engine.deliver.room import Device
from engine.deliver.source import BASE
from engine.display import printable
from engine.errors import UserError
from engine.run.layout import RunDir
from tui.keymap import bindings
from tui.no_room import offer_processor
from tui.screens.base import BaseScreen
from tui.text import hanging
from tui.widgets.pager import Pager
from tui.widgets.rows import Row

LONGEST = 100_000  # characters of an answer that are shown


class CompareScreen(BaseScreen):
    """Before and after, question by question.

    Args:
        run: The run.
        which: The model after; see `engine.deliver.source.find_trained`.
        against: The model before.
        limit: Most questions.
        device: Where they are held.
    """

    KEY_GROUPS = ("compare",)
    BINDINGS = bindings("compare")
    AUTO_FOCUS = "Pager"
    DEFAULT_CSS = """
    CompareScreen Pager { height: 1fr; padding: 0 1; margin: 1 0; }
    CompareScreen #told { height: auto; padding: 0 1; margin: 0 0 1 0; }
    """
    HELP = """\
Both models get the same questions: your own, and rows of the dataset that were held out, so the trained model never learned \
from them. Both always take the likeliest word, so asking again gives the same answers.

"Cut off" means that an answer was as long as answers may be here and had not ended by itself. If that happens often after \
training, the model has not learned to stop.

If no answer changed, the training had no effect that these questions show: look whether the loss fell, raise the learning \
rate, or train longer."""

    def __init__(
        self,
        run: RunDir,
        which: str | None = None,
        against: str = BASE,
        limit: int = 20,
        device: Device = "auto",
    ) -> None:
        super().__init__()
        self.run = run
        self._which, self._against, self._limit = which, against, limit
        self._device: Device = device
        self._compare: Compare | None = None
        self._started: Started | None = None
        self._answers: list[Compared] = []
        self._at = 0
        self._finished = False

    def head(self) -> Iterable[Widget]:
        yield Static("", id="head", classes="head", markup=False)

    def body(self) -> ComposeResult:
        yield Pager()
        yield Static("", id="told", markup=False)

    def on_mount(self) -> None:
        self._load()

    def on_unmount(self) -> None:
        self._close()

    # The work, in a thread and another process

    def _load(self) -> None:
        self._close()
        self._started, self._answers, self._at, self._finished = None, [], 0, False
        self._compare = compare = Compare(
            self.run, self._which, self._against, limit=self._limit, device=self._device
        )
        self._tell()

        def work() -> None:
            for result in compare.results():
                self._deliver(compare is not self._compare, self._came, result)

        def done(nothing: None) -> None:
            if compare is self._compare:
                self._finished = True
                self._tell()

        self.in_background(work, done, "compare", self._failed)

    def _came(self, result: Started | Note | Compared) -> None:
        if isinstance(result, Started):
            self._started = result
        elif isinstance(result, Note):
            number = "" if result.number is None else f"Question {result.number + 1} is left out: "
            self.notice.say(number + result.words)
        else:
            self._answers.append(result)
        self._tell()

    def _failed(self, error: UserError) -> None:
        self._finished = True
        self._tell()
        offer_processor(self, error, self._on_processor)

    def _on_processor(self) -> None:
        self._device = "cpu"
        self._load()

    def _close(self) -> None:
        compare, self._compare = self._compare, None
        if compare is not None:
            threading.Thread(target=compare.close, daemon=True).start()

    # What is shown

    def _tell(self) -> None:
        started = self._started
        head = [(f"Before and after: {self.run.name}", "bold")]
        if started is not None:
            head.append((f"   question {min(self._at + 1, started.total)} of {started.total}", "$muted"))
        self.query_one("#head", Static).update(Content.assemble(*head))
        pager = self.query_one(Pager)
        if self._answers and started is not None:
            pager.show(_rows(self._answers[self._at], started))
        elif not self._finished:
            words = "Asking ..." if started is not None else "Loading the models ..."
            pager.show([((words, "$muted"),)])
        else:
            pager.show([])
        told = self.query_one("#told", Static)
        told.display = bool(self._answers)
        if self._answers and started is not None:
            words = summary(self._answers, started.before, started.after)
            if not self._finished and (left := started.total - len(self._answers)):
                words = f"{words} {left} still to ask."
            told.update(hanging("→", "bold $primary", words, self.size.width - 2))

    # Keys

    def action_row(self, by: int) -> None:
        if self._answers:
            self._show(min(max(0, self._at + by), len(self._answers) - 1))

    def action_changed(self) -> None:
        """The next question whose answer changed, and around."""
        total = len(self._answers)
        later = [(self._at + step) % total for step in range(1, total + 1)] if total else []
        found = next((number for number in later if self._answers[number].changed), None)
        if found is None:
            self.notice.say("No answer changed so far.")
        else:
            self._show(found)

    def _show(self, number: int) -> None:
        self._at = number
        self.query_one(Pager).clear()
        self._tell()

    def action_against(self) -> None:
        """Choose what it is compared with."""
        from tui.pick_model import pick_model

        after = self._started.after if self._started is not None else self._which

        def done(name: str) -> None:
            if name != self._against:
                self._against = name
                self.notice.clear()
                self._load()

        words = "It answers the same questions."
        pick_model(self, self.run, "Compare with which model?", words, after, self._against, done)

    def action_back(self) -> None:
        self.app.pop_screen()

    def leaving(self) -> Iterable[str]:
        return (f"The same on the command line: finetui compare {self.run.name}",)


def _rows(one: Compared, started: Started) -> list[Row]:
    mark = ("changed", "bold $success") if one.changed else ("the same answer", "bold $warning")
    source = {"yours": "your own question", "held out": "a row it never learned from"}.get(
        one.source, "from your file"
    )
    rows: list[Row] = [((source, "$muted"), ("   ", ""), mark), ()]
    parts = [("question", one.question, True), (started.before, one.before, one.before_stopped)]
    parts.append((started.after, one.after, one.after_stopped))
    if one.expected is not None:
        parts.append(("expected", one.expected, True))
    wide = max(len(label) for label, _, _ in parts) + 2
    for label, words, stopped in parts:
        text = printable(words, LONGEST, newlines=True).expandtabs(4).strip("\n") or "(nothing)"
        rows.append(((f"{printable(label, 40):<{wide}}", "bold $primary"), (text, "")))
        if not stopped:
            rows.append(((" " * wide, ""), ("cut off: it did not stop by itself", "$warning")))
        rows.append(())
    return rows
