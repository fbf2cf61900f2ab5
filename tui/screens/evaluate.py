"""Evaluate: is the trained model better? The numbers, the verdict, and the rows that went worst."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.deliver.evaluate import show
from engine.deliver.evaluate.report import Report, Row, newest
from engine.deliver.evaluate.run_evaluate import Came, Evaluate, Finished, Note, Progress, Started, Wanted
from engine.deliver.source import BASE
from engine.display import printable
from engine.errors import UserError
from engine.run.layout import RunDir
from tui.keymap import bindings, shown_key
from tui.no_room import offer_processor
from tui.screens.base import BaseScreen
from tui.widgets.pager import Pager
from tui.widgets.rows import Row as Line

STYLES = {"better": "bold $success", "worse": "bold $error", "none": "$muted", "": ""}
OUTCOMES = {
    "better": "bold $success",
    "worse": "bold $error",
    "none": "bold $warning",
    "identical": "bold $error",
}


class EvaluateScreen(BaseScreen):
    """Measured on held-out rows, before and after. What was measured before is shown at once.

    Args:
        run: The run.
        wanted: What is measured, and which models.
        fresh: Measure, whatever is there already.
    """

    KEY_GROUPS = ("evaluate",)
    BINDINGS = bindings("evaluate")
    AUTO_FOCUS = "Pager"
    DEFAULT_CSS = """
    EvaluateScreen Pager { height: 1fr; padding: 0 1; margin: 1 0; }
    """
    HELP = """\
Both models read and answer rows that were held out of the training, so nothing here was learnt by heart. "base" is the model \
before training.

The change has an interval: with 95 % certainty the true change lies in it. If it leaves zero out, the line says better or worse; \
if not, these rows show no difference, and more rows would be needed to see a small one.

Loss is how surprising the wanted answers are to the model; lower is better. Exact match counts answers that are right word for \
word. Token F1 and ROUGE count words in common with the wanted answer.

"Identical" means that the training had no effect at all; the reason is most often a learning rate that is far too low."""

    def __init__(self, run: RunDir, wanted: Wanted | None = None, fresh: bool = False) -> None:
        super().__init__()
        self.run = run
        self._wanted = wanted or Wanted()
        self._fresh = fresh
        self._evaluate: Evaluate | None = None
        self._report: Report | None = None
        self._started: Started | None = None
        self._progress: Progress | None = None
        self._at = 0  # 0 is the table, 1 the worst row
        self._order = "metric"

    def head(self) -> Iterable[Widget]:
        yield Static("", id="head", classes="head", markup=False)

    def body(self) -> ComposeResult:
        yield Pager()

    def on_mount(self) -> None:
        self._tell()
        if self._fresh:
            self._measure()
        else:
            self.in_background(lambda: newest(self.run), self._found, "saved")

    def on_unmount(self) -> None:
        self._close()

    def on_resize(self) -> None:
        self._tell()

    # The work, in a thread and other processes

    def _found(self, report: Report | None) -> None:
        if report is None:
            self._measure()
        else:
            self._report = report
            self._tell()

    def _measure(self) -> None:
        self._close()
        self._report, self._started, self._progress, self._at = None, None, None, 0
        self._evaluate = evaluate = Evaluate(self.run, self._wanted)
        self._tell()

        def work() -> None:
            for came in evaluate.results():
                self._deliver(evaluate is not self._evaluate, self._came, came)

        def done(nothing: None) -> None:
            if evaluate is self._evaluate:
                self._evaluate = None
                self._tell()

        self.in_background(work, done, "evaluate", self._failed)

    def _came(self, came: Came) -> None:
        if isinstance(came, Finished):
            self._report = came.report
        elif isinstance(came, Started):
            self._started = came
        elif isinstance(came, Progress):
            self._progress = came
        elif isinstance(came, Note):
            self.notice.say(came.words)
        self._tell()

    def _failed(self, error: UserError) -> None:
        self._evaluate = None
        self._tell()
        offer_processor(self, error, self._on_processor)

    def _on_processor(self) -> None:
        self._wanted = replace(self._wanted, device="cpu")
        self._measure()

    def _close(self) -> None:
        evaluate, self._evaluate = self._evaluate, None
        if evaluate is not None:
            threading.Thread(target=evaluate.close, daemon=True).start()

    # What is shown

    def _tell(self) -> None:
        head = [("Is it better? ", "bold"), (self.run.name, "bold")]
        report = self._report
        if report is not None:
            head.append(
                (f"   {printable(report.after, 40)} against {printable(report.before, 40)}", "$muted")
            )
        self.query_one("#head", Static).update(Content.assemble(*head))
        pager = self.query_one(Pager)
        if report is None:
            pager.show(self._waiting())
        elif self._at:
            rows = self._worst()
            pager.show(_row_lines(report, rows[self._at - 1], self._at, len(rows), self._order))
        else:
            pager.show(_overview(report, max(40, self.size.width - 4)))

    def _waiting(self) -> list[Line]:
        if self._evaluate is None:
            return [((f"Nothing is measured yet. {shown_key('evaluate.again')} begins.", "$muted"),)]
        if self._started is None:
            return [(("Loading the models ...", "$muted"),)]
        started = self._started
        lines: list[Line] = [
            ((f"{printable(started.words[1], 200)}, against {printable(started.words[0], 200)}", ""),),
            ((f"on {printable(started.data, 200)}.", ""),),
            (),
        ]
        words = "Measuring ..." if self._progress is None else self._progress.line()
        return [*lines, (("→ ", "bold $primary"), (printable(words, 200), "")), ()]

    def _worst(self) -> list[Row]:
        return [] if self._report is None else show.worst_rows(self._report, self._order)

    # Keys

    def action_row(self, by: int) -> None:
        if self._report is None:
            return
        rows = self._worst()
        if not rows:
            self.notice.say("No row went wrong by this number.")
            return
        self._show(min(max(0, self._at + by), len(rows)))

    def action_order(self) -> None:
        """By loss, or by the metric that decides."""
        if self._report is None:
            return
        self._order = "loss" if self._order == "metric" else "metric"
        rows = self._worst()
        words = (
            "loss" if self._order == "loss" else self._report.main.title if self._report.main else "metric"
        )
        self.notice.say(f"The worst rows are in the order of {words}.")
        self._show(min(1, len(rows)))

    def _show(self, number: int) -> None:
        self._at = number
        self.query_one(Pager).clear()
        self._tell()

    def action_again(self) -> None:
        if self._evaluate is None:
            self.notice.clear()
            self._measure()

    def action_against(self) -> None:
        """Choose what it is compared with."""
        from tui.pick_model import pick_model

        report = self._report
        after = report.after if report is not None else self._wanted.which
        now = self._wanted.against or (report.before if report is not None else BASE)

        def done(name: str) -> None:
            self._wanted = replace(self._wanted, against=name)
            self.notice.clear()
            self._measure()

        words = "Both are measured on the same rows."
        pick_model(self, self.run, "Compare with which model?", words, after, now, done)

    def action_back(self) -> None:
        if self._evaluate is not None and self._report is None:
            self._close()
            self.notice.say("Stopped; nothing was saved.")
            self._tell()
        else:
            self.app.pop_screen()

    def leaving(self) -> Iterable[str]:
        return (f"The same on the command line: finetui eval {self.run.name}",)


def _overview(report: Report, width: int) -> list[Line]:
    lines: list[Line] = [((printable(report.words[0]), OUTCOMES[report.outcome]),)]
    lines += [((printable(sentence), ""),) for sentence in report.words[1:]]
    lines.append(())
    for at, (text, words, verdict) in enumerate(show.table(report, width)):
        lines.append(((text, "$muted" if at == 0 else ""), ("  ", ""), (words, STYLES[verdict])))
    lines.append(())
    if report.change.words and report.change.words not in " ".join(report.words):
        lines.append(((printable(report.change.words), ""),))
    lines += [((printable(note), ""),) for note in report.notes]
    lines.append(((f"Measured on {printable(report.data, 200)}.", "$muted"),))
    if any(report.worst.values()):
        lines.append(((f"{shown_key('evaluate.next')} shows the rows that went worst.", "$muted"),))
    return lines


def _row_lines(report: Report, row: Row, number: int, total: int, order: str) -> list[Line]:
    name = "loss" if order == "loss" or report.main is None else report.main.title
    lines: list[Line] = [((f"worst by {printable(name, 40)}: {number} of {total}", "$muted"),), ()]
    parts = show.row_parts(report, row)
    wide = max(len(label) for label, _, _ in parts) + 2
    for label, text, ended in parts:
        words = text.expandtabs(4).strip("\n") or "(nothing)"
        lines.append(((f"{label:<{wide}}", "bold $primary"), (words, "")))
        if not ended:
            lines.append(((" " * wide, ""), ("cut off: it did not stop by itself", "$warning")))
        lines.append(())
    lines.append(((printable(show.row_numbers(report, row), 500), "$muted"),))
    return lines
