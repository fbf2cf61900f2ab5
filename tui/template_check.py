"""What the model sees of a dataset: every row through the chat template, looked at before any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.render import Renderer, XRay
from engine.errors import UserError

MOST_CHECKED = 1000  # rows; a thousand take about a second


@dataclass(frozen=True, slots=True)
class TemplateCheck:
    """The rows of a dataset seen through one template.

    Attributes:
        renderer: Shows single rows.
        max_length: Length limit of the training in tokens.
        num_checked: How many rows were looked at.
        longest: Index of the longest of them.
        longest_total: Its tokens.
        num_cut: Rows longer than the limit.
        nothing: Indices of rows from which nothing is learnt.
        refused: Indices of rows the template refuses.
    """

    renderer: Renderer
    max_length: int
    num_checked: int
    longest: int
    longest_total: int
    num_cut: int
    nothing: tuple[int, ...]
    refused: tuple[int, ...]

    def xray(self, row: dict[str, Any]) -> XRay:
        """One row as the model sees it.

        Raises:
            UserError: The template refuses the row.
        """
        return self.renderer.xray(row, self.max_length)


def check_template(
    folder: Path, chat_template: str, rows: list[dict[str, Any]], max_length: int
) -> TemplateCheck:
    """Look at the first rows of a dataset.

    Raises:
        UserError: The tokenizer or the template cannot be used.
    """
    renderer = Renderer(folder, chat_template)
    longest, longest_total, num_cut = 0, 0, 0
    nothing: list[int] = []
    refused: list[int] = []
    checked = rows[:MOST_CHECKED]
    for index, row in enumerate(checked):
        try:
            seen = renderer.xray(row, max_length)
        except UserError:
            refused.append(index)
            continue
        if seen.total > longest_total:
            longest, longest_total = index, seen.total
        num_cut += seen.kept < seen.total
        if not any(seen.mask[: seen.kept]):
            nothing.append(index)
    return TemplateCheck(
        renderer, max_length, len(checked), longest, longest_total, num_cut, tuple(nothing), tuple(refused)
    )
