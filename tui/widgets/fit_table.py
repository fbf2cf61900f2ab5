"""What fits on a card, as a table: sizes of models against ways to train."""

from __future__ import annotations

from textual.content import Content

from engine.display import GIB, gib, printable
from engine.fit import grid
from engine.fit.decide import METHODS
from tui.planning import Target
from tui.tuning import MARKS

METHOD_WIDTH, SIZE_WIDTH, LONGEST_WIDTH, NAME_WIDTH = 13, 7, 14, 28


def fit_table(target: Target, table: grid.Grid, width: int) -> list[Content]:
    """A title, a head and a line for each size: a mark and the GiB that 19 of 20 runs stay below.

    Args:
        target: The card.
        table: What fits on it.
        width: Columns there are; the longest texts and the models counted with are left out where they do not fit.
    """
    legend = Content("  ").join(
        Content.assemble((mark, style), f" {verdict}") for verdict, (mark, style) in MARKS.items()
    )
    what = f"What fits into {gib(target.free)}"
    if target.planned:
        what = f"On the {printable(target.name, 30)}, {gib(target.free)}"
    title = Content.assemble((what, "bold"), f" ({table.length:,} tokens; GiB needed)")
    lines = [Content("   ").join((title, legend))]
    if lines[0].cell_length > width:
        lines = [title, legend]
    method_width = METHOD_WIDTH if width >= SIZE_WIDTH + 4 * METHOD_WIDTH else 9
    with_longest = width >= SIZE_WIDTH + 4 * method_width + LONGEST_WIDTH
    with_name = with_longest and width >= SIZE_WIDTH + 4 * method_width + LONGEST_WIDTH + 10 + NAME_WIDTH
    heads = "".join(f"{_short(name, method_width):<{method_width}}" for name in METHODS)
    head = f"{'size':<{SIZE_WIDTH}}{heads}"
    if with_longest:
        head += f"{'longest text':<{LONGEST_WIDTH + 10 if with_name else 0}}"
    if with_name:
        head += "counted with"
    lines.append(Content.styled(head, "$muted"))
    for row in table.rows:
        line = Content(f"{row.size.billions:>3} B  ")
        for cell in row.cells:
            mark, style = MARKS[cell.verdict]
            need = cell.p95 / GIB
            number = f"{need:.1f}" if need < 99.95 else f"{need:.0f}"
            line = Content.assemble(line, (mark, style), f"{number:>6}", " " * (method_width - 7))
        if with_longest:
            words = f"{row.longest:,} {_short(row.best or grid.QLORA, 0)}" if row.longest else "none fits"
            line = Content.assemble(line, f"{words:<{LONGEST_WIDTH + 10}}" if with_name else words)
        if with_name:
            line = Content.assemble(line, (row.size.model_name, "$muted"))
        lines.append(line)
    return lines


def _short(method: str, width: int) -> str:
    """The name of a method, without its bits where they do not fit."""
    return (
        method if len(method) < width else method.replace("-bit", "") if width else method.partition(" ")[0]
    )
