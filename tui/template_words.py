"""The words of the Template screen."""

from __future__ import annotations

from textual.content import Content

from engine.data.templates.client import Picture
from engine.data.templates.learnt import MASK_WORDS
from engine.display import printable
from engine.errors import UserError
from tui.dataset import DatasetReport
from tui.template_check import TemplateState
from tui.text import hanging, stack

IMPORTANT = ("answers", "stops", "start", "system")


def title(state: TemplateState, data: DatasetReport, row: int, width: int) -> Content:
    """Which template, and which row of how many."""
    number = data.numbers[row]
    place = ", the longest" if state.scan.checked and row == state.scan.longest else ""
    right = f"row {row + 1:,} of {len(data.rows):,} ({data.first.unit} {number}{place})"
    left = printable(f"Template: {state.opened.title}", max(20, width - len(right) - 5))
    gap = max(2, width - len(left) - len(right))
    return Content.assemble((left, "bold"), " " * gap, (right, "$muted"))


def legend(seen: Picture) -> Content:
    """What the brackets mean, and how much stands in them."""
    cut = f" {seen.total - seen.kept:,} are cut off." if seen.kept < seen.total else ""
    return Content.assemble(
        ("[ learnt ]", "bold $success"),
        "  ",
        ("read, not learnt", "$muted"),
        f"   {seen.learnt:,} of {seen.total:,} tokens are learnt.{cut}",
    )


def verdict_lines(
    state: TemplateState,
    data: DatasetReport,
    picture: Picture | UserError | None,
    max_length: int,
    width: int,
    low: bool,
) -> list[Content]:
    """The verdict on the template, on this row and on all rows, the worst first.

    Args:
        state: What is known so far.
        data: The rows.
        picture: The row that is shown.
        max_length: Length limit in tokens.
        width: Of a line, in cells.
        low: The terminal has few rows, so what is well is said in one line.
    """
    verdict = state.verdict
    lines = [hanging("✗", "bold $error", printable(reason, 300), width) for reason in verdict.reasons]
    if isinstance(picture, Picture):
        if not verdict.bad and picture.learnt and picture.stops:
            words = f"The model learns these {picture.learnt:,} tokens and how to stop."
            lines.append(hanging("✓", "bold $success", words, width))
        lines += [
            hanging("!", "bold $warning", printable(problem, 300), width) for problem in picture.problems
        ]
    if state.conversational:
        lines += _template_lines(state, low, width)
        if isinstance(picture, Picture) and picture.source == "prefixes" and not low:
            lines.append(hanging("→", "$primary", MASK_WORDS[picture.source], width))
    return lines + _row_lines(state, data, max_length, width)


def _template_lines(state: TemplateState, low: bool, width: int) -> list[Content]:
    checks, opened = state.opened.checks, state.opened
    good = [check for check in checks if check.level == "good" and check.name not in ("answers", "stops")]
    notes = [check for check in checks if check.level == "note"]
    lines: list[Content] = []
    if opened.added:
        tokens = printable(", ".join(opened.added[:3]), 80) + (", ..." if len(opened.added) > 3 else "")
        words = f"{len(opened.added)} tokens are added to the model and learnt: {tokens}."
        lines.append(hanging("→", "bold $primary", words, width))
    if not low or not (opened.own or opened.reason.endswith("as asked.")):
        lines.append(hanging("→", "bold $primary", printable(opened.reason, 300), width))
    if low:
        good = [check for check in good if check.name in ("start", "system")]
        notes = [check for check in notes if check.name not in ("tools", "thinking")]
    if good:
        lines.append(hanging("✓", "bold $success", " ".join(check.words for check in good), width))
    lines += [hanging("·", "$muted", printable(check.words, 300), width, "$muted") for check in notes]
    return lines


def _row_lines(state: TemplateState, data: DatasetReport, max_length: int, width: int) -> list[Content]:
    scan = state.scan
    if not scan.checked:
        return [hanging("·", "$muted", "Looking at the rows ...", width, "$muted")]
    some = "" if scan.checked == len(data.rows) else "first "
    going = "" if state.whole else " Still looking ..."
    longest = f"The longest has {scan.longest_total:,} of {max_length:,} tokens.{going}"
    if not (scan.num_cut or scan.nothing or scan.refused or scan.endless):
        words = f"All {some}{scan.checked:,} rows fit and teach something. {longest}"
        return [hanging("✓", "bold $success", words, width)]
    lines: list[Content] = []
    if scan.num_cut:
        words = f"{scan.num_cut:,} of {some}{scan.checked:,} rows are cut off. {longest} max_length is set at Method."
        lines.append(hanging("!", "bold $warning", words, width))
    for indices, one, many in (
        (scan.nothing, "teaches nothing and is skipped", "teach nothing and are skipped"),
        (scan.refused, "is refused by the template", "are refused by the template"),
        (() if scan.num_cut else scan.endless, "does not teach how to stop", "do not teach how to stop"),
    ):
        if indices:
            numbers = ", ".join(str(data.numbers[index]) for index in indices[:5])
            more = ", ..." if len(indices) > 5 else ""
            what = f"1 row {one}" if len(indices) == 1 else f"{len(indices):,} rows {many}"
            words = f"{what}: {data.first.unit} {numbers}{more}. w shows the worst."
            lines.append(hanging("!", "bold $warning", words, width))
    return lines


def not_here(model: str, width: int) -> Content:
    """A Hub model that has not been downloaded."""
    return stack(
        hanging("→", "bold $primary", f"{printable(model, 100)} is not on this disk yet, so its rows cannot be shown.", width),
        "",
        hanging(" ", "", "Press d to download its tokenizer alone, a few megabytes, and look now.", width),
        "",
        hanging(" ", "", "Or go on: the model brings its own chat template, the recipe that turns a conversation into "
                "text. When the training starts, the model is downloaded and every row is checked; a run in which "
                "nothing would be learnt is refused before it starts.", width),
    )  # fmt: skip
