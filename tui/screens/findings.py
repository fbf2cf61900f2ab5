"""What is wrong with a dataset: every finding with its line, the lengths of the rows, and a repaired copy on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.config.draft import Draft
from engine.display import duration, printable
from engine.errors import UserError
from tui.dataset import DatasetReport, Wanted
from tui.dataset_check import (
    MARKS,
    SEVERITIES,
    CheckState,
    DatasetCheck,
    counting_model,
    length_limit,
    repaired_name,
    rough_lengths,
)
from tui.keymap import bindings
from tui.screens.ask import AskScreen
from tui.screens.base import BaseScreen
from tui.text import hanging, stack
from tui.widgets.choice_list import ChoiceList
from tui.widgets.histogram import histogram, measured_words, percentile_words, truncated_words

TALL = 32  # rows of a terminal that has room for problems and lengths below each other
BARS, BARS_TALL = 9, 8


class FindingsScreen(BaseScreen):
    """Starts to check at once; leaving stops it.

    Args:
        draft: The wizard's answers; takes the recommended max_length.
        wanted: The dataset.
        report: What was read of it; None when reading stopped at a damaged row.
        switch: Told the repaired file, which is then the dataset.
    """

    KEY_GROUPS = ("findings", "list")
    BINDINGS = bindings("findings")
    DEFAULT_CSS = """
    FindingsScreen #summary { padding: 0 1; height: auto; margin: 0; }
    FindingsScreen ChoiceList { margin: 1 1 0 1; }
    FindingsScreen #detail { padding: 0 1; height: auto; min-height: 3; }
    FindingsScreen #lengths-box { height: 1fr; padding: 0 1; margin: 1 0 0 0; }
    FindingsScreen.-tall #lengths-box { height: auto; max-height: 20; }
    FindingsScreen #lengths { height: auto; }
    """
    HELP = """\
Every row is looked at. "Stops the run" must be put right before the training; "row is skipped" means that the rest is \
trained on; "worth a look" changes nothing by itself. A repaired copy is a new file; the old one is never touched.

A token is about three quarters of a word. Rows longer than max_length are cut off, so the end of their answers would \
not be learnt; a larger max_length needs more memory for every row."""

    def __init__(
        self, draft: Draft, wanted: Wanted, report: DatasetReport | None, switch: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._draft = draft
        self._wanted = wanted
        self._data = report
        self._switch = switch
        self._check: DatasetCheck | None = None
        self._state = CheckState()
        self._written: Mapping[str, Any] | None = None
        self._show_lengths = False
        self._started = 0

    def head(self) -> Iterable[Widget]:
        yield Static("", id="title", classes="head", markup=False)

    def body(self) -> ComposeResult:
        yield Static("", id="summary", markup=False)
        yield ChoiceList()
        yield Static("", id="detail", markup=False)
        with VerticalScroll(id="lengths-box", can_focus=False):
            yield Static("", id="lengths", markup=False)

    def on_mount(self) -> None:
        self.query_one(ChoiceList).focus()
        self._start()

    def on_unmount(self) -> None:
        if self._check is not None:
            self._check.cancel()

    def on_resize(self, event: events.Resize) -> None:
        self._list()
        self._detail()
        self._tell()

    # The work, in threads and other processes

    def _start(self, exact: bool = False, fix: str | None = None) -> None:
        if self._check is not None:
            self._check.cancel()
        draft, wanted, data, limit = self._draft, self._wanted, self._data, length_limit(self._draft)
        name = printable(Path(wanted.path).name or wanted.path, 60)
        self.query_one("#title", Static).update(Content.assemble(("Check of ", "bold"), (name, "bold")))
        before = self._state
        self._state = CheckState(tokens=before.tokens, choices=before.choices)
        self._tell()
        model = counting_model(draft, wanted.path)
        check = self._check = DatasetCheck(wanted, model, limit, exact, fix)

        def told(state: CheckState) -> None:
            self._deliver(check is not self._check, self._progress, state)

        def everything() -> CheckState | None:
            return check.run(told)

        def measured() -> CheckState | None:
            if data is not None and not before.tokens:
                told(CheckState(tokens=rough_lengths(data, limit)))
            return check.lengths()

        # A group of its own: a worker that is just handing over its result must not be cancelled by the next.
        self._started += 1
        group = f"check-{self._started}"
        self.in_background(everything, lambda state: self._done(check, state), group, self._failed)
        if not exact and fix is None:
            self.in_background(
                measured,
                lambda state: self._measured(check, state),
                f"lengths-{self._started}",
                lambda error: None,
            )

    def _progress(self, state: CheckState) -> None:
        if self._state.share is not None:
            tokens = state.tokens or self._state.tokens
            self._state = CheckState(state.share, state.words, None, tokens, self._state.choices)
            self._tell()

    def _measured(self, check: DatasetCheck, state: CheckState | None) -> None:
        if state is not None and check is self._check and self._state.report is None:
            now = self._state
            self._state = CheckState(now.share, now.words, None, state.tokens, state.choices, now.error)
            self._tell()

    def _done(self, check: DatasetCheck, state: CheckState | None) -> None:
        if state is None or check is not self._check:
            return
        self._state = state
        fixed = (state.report or {}).get("fixed")
        if fixed:
            self._use(fixed)
            return
        self._list()
        self._tell()

    def _failed(self, error: UserError) -> None:
        self._state = CheckState(None, "", None, self._state.tokens, self._state.choices, error)
        self._tell()
        self.show_error(error)

    def _use(self, fixed: Mapping[str, Any]) -> None:
        """Go on with the repaired file."""
        self._written, self._data = fixed, None
        self._wanted = Wanted(str(fixed["out"]), (), self._wanted.format, None, self._wanted.goal)
        self._switch(str(fixed["out"]))
        self._start()

    # What is shown

    def _list(self) -> None:
        report = self._state.report or {}
        options = [
            Option(self._line(one), id=str(number)) for number, one in enumerate(report.get("problems", ()))
        ]
        self.query_one(ChoiceList).fill(options)

    def _line(self, one: Mapping[str, Any]) -> Content:
        mark, style = MARKS[one["severity"]]
        place = f"line {one['line']:,}" if one["line"] else "all rows"
        words = printable(one["problem"], 200)
        field = f"{printable(one['field'], 24)}: " if one["field"] else ""
        room = max(20, self.size.width - 22)
        text = f"{field}{words}"
        return Content.assemble(
            (mark, f"bold {style}"), f" {place:<13} ", text if len(text) <= room else text[: room - 1] + "…"
        )

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._detail()

    def _detail(self) -> None:
        problems = (self._state.report or {}).get("problems", ())
        chosen = self.query_one(ChoiceList).chosen
        if chosen is None or int(chosen) >= len(problems):
            self.query_one("#detail", Static).update("")
            return
        one, width = problems[int(chosen)], self.size.width - 4
        mark, style = MARKS[one["severity"]]
        said = f"{one['severity'].capitalize()}: {printable(one['problem'], 300)}"
        lines = [
            hanging(mark, f"bold {style}", said, width),
            hanging("→", "bold $primary", printable(one["fix"], 300).replace("--fix", "x"), width),
        ]
        self.query_one("#detail", Static).update(stack(*lines))

    @property
    def _tall(self) -> bool:
        return self.size.height >= TALL

    def _tell(self) -> None:
        width = self.size.width - 4
        self.set_class(self._tall, "-tall")
        lengths = self._tall or self._show_lengths
        problems = self._tall or not self._show_lengths
        has_list = bool((self._state.report or {}).get("problems"))
        self.query_one(ChoiceList).display = problems and has_list
        self.query_one("#detail").display = problems and has_list
        self.query_one("#lengths-box").display = lengths
        self.query_one("#summary", Static).update(stack(*self._summary(width, short=not lengths)))
        self.query_one("#lengths", Static).update(self._lengths(width))
        hidden = [] if self._state.share is not None else ["findings.stop"]
        if self._tall:
            hidden.append("findings.lengths")
        if "max_length" not in self._state.choices:
            hidden.append("findings.limit")
        if self._state.report is None or not self._state.report["counts"]:
            hidden.append("findings.repair")
        self.key_line.hide(*hidden)
        self.key_line.relabel(findings_lengths="problems" if self._show_lengths else "lengths")

    def _summary(self, width: int, short: bool) -> list[Content]:
        state, lines = self._state, []
        if self._written is not None:
            lines += _written_lines(self._written, width)
        if state.share is not None:
            share = f" {100 * state.share:.0f} %" if state.share else ""
            lines.append(
                hanging("…", "$muted", f"Checking every row: {printable(state.words, 60)}{share}", width)
            )
        elif state.stopped:
            lines.append(hanging("!", "bold $warning", "Stopped before all rows were looked at.", width))
        report = state.report
        if report is not None:
            lines += _report_lines(report, width)
        if short and state.tokens:
            lines.append(
                hanging("→", "bold $primary", f"{percentile_words(state.tokens)} (l: all lengths)", width)
            )
        return lines

    def _lengths(self, width: int) -> Content:
        tokens = self._state.tokens
        if not tokens:
            return Content.styled("The lengths are being measured ...", "$muted")
        lines = [
            Content.assemble(
                ("Length of a row in tokens, ", "bold"), (f"{measured_words(tokens)}.", "$muted")
            ),
            Content(percentile_words(tokens)),
        ]
        lines = [hanging(" ", "", line.plain, width) if number else line for number, line in enumerate(lines)]
        if words := truncated_words(tokens):
            lines.append(hanging(" ", "", words, width))
        lines.append(histogram(tokens, width, BARS_TALL if self._tall else BARS))
        for name, choice in self._state.choices.items():
            value = _value(choice["value"])
            words = f"{name} {value}: {printable(choice['reason'], 300)}"
            if name == "max_length":
                taken = length_limit(self._draft) == choice["value"] and "max_length" in self._draft.settings
                words += " Taken." if taken else " m takes it."
            lines.append(hanging("→", "bold $primary", words, width))
        return stack(*lines)

    # Keys

    def action_back(self) -> None:
        """Back to the data; what still runs is stopped."""
        self.dismiss(None)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_back()

    def action_stop(self) -> None:
        """Stop what runs and keep what is known."""
        if self._check is not None and self._state.share is not None:
            self._check.cancel()
            now = self._state
            self._state = CheckState(None, "", now.report, now.tokens, now.choices, None, True)
            self._tell()

    def action_lengths(self) -> None:
        """Lengths instead of problems, or back."""
        self._show_lengths = not self._show_lengths
        self._tell()

    def action_exact(self) -> None:
        """Count the tokens of every row."""
        if counting_model(self._draft, self._wanted.path) is None:
            self.notice.say(
                "Counting needs the model's tokenizer. Choose the model first; its tokenizer comes with the Template step."
            )
        else:
            self.notice.clear()
            self._start(exact=True)

    def action_limit(self) -> None:
        """Take the recommended max_length into the draft."""
        choice = self._state.choices.get("max_length")
        if choice is not None:
            self._draft.settings["max_length"] = int(choice["value"])
            self.notice.say(
                f"The training will use max_length {int(choice['value']):,}. The Method step can change it."
            )
            self._tell()

    def action_repair(self) -> None:
        """Ask for a name and write a repaired copy."""
        if self._state.report is None:
            self.notice.say("The check is not finished yet.")
            return

        def check(value: str) -> None:
            file = Path(value).expanduser()
            if not value or os.path.lexists(file):
                raise UserError(
                    "This file exists already." if value else "A file needs a name.",
                    printable(value, 200) or "the name",
                    "Give a new name; nothing is overwritten.",
                )

        def got(value: str | None) -> None:
            if value:
                self.notice.clear()
                self._start(fix=str(Path(value).expanduser()))

        words = "A new file, the old one stays as it is. Rows that cannot be repaired go to a file beside it."
        self.app.push_screen(
            AskScreen("Name of the repaired copy", words, repaired_name(self._wanted.path), check), got
        )


def _report_lines(report: Mapping[str, Any], width: int) -> list[Content]:
    rows, usable = report["rows"], report["usable"]
    mark, style = ("✓", "$success") if usable and not report["stops"] else ("✗", "$error")
    took = duration(report["seconds"]) if report["seconds"] >= 1 else "less than a second"
    lines = [hanging(mark, f"bold {style}", f"{usable:,} of {rows:,} rows usable. Checked in {took}.", width)]
    severity_of = {one["kind"]: one["severity"] for one in report["problems"]}
    totals = dict.fromkeys(SEVERITIES, 0)
    for kind, count in report["counts"].items():
        totals[severity_of.get(kind, SEVERITIES[-1])] += count
    for severity, count in totals.items():
        if count:
            mark, style = MARKS[severity]
            lines.append(hanging(mark, f"bold {style}", f"{severity.capitalize()}: {count:,}", width))
    if not report["problems"]:
        lines.append(hanging("✓", "bold $success", "Nothing to complain about.", width))
    return lines + [hanging("!", "bold $warning", printable(note, 300), width) for note in report["notes"]]


def _written_lines(fixed: Mapping[str, Any], width: int) -> list[Content]:
    changes = "; ".join(f"{one['count']:,} x {printable(one['change'], 80)}" for one in fixed["changes"])
    words = f"Written: {printable(Path(str(fixed['out'])).name, 80)}, {fixed['rows']:,} rows; it is the dataset now."
    lines = [hanging("✓", "bold $success", f"{words} {changes or 'Nothing had to be changed'}.", width)]
    if fixed["rejected"]:
        file = printable(Path(str(fixed["rejected_file"])).name, 80)
        lines.append(
            hanging(
                "!",
                "bold $warning",
                f"{fixed['rejected']:,} {'row' if fixed['rejected'] == 1 else 'rows'} could not be repaired: {file}.",
                width,
            )
        )
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
