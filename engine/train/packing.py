"""Laying the rows of a step out: several short ones on one line instead of padding, as few lines at once as memory allows.

What is learnt stays the same to the last rounding: the rows of a step, their order between steps, and the loss, which is a mean over
the tokens of the whole step, do not depend on how they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from engine.train.tokens import IGNORED

Layout = Literal["flat", "lines", "padded"]
"""flat: all rows one after the other, for attention that is told where each begins (flash_attention_2). lines: several rows a line,
kept apart by a mask. padded: one row a line, like with like."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepCollator:
    """Makes ``{"parts": [batch, ...]}`` of the rows of one step; the parts are computed one after the other and added up.

    Attributes:
        pad_token_id: Fills the rest of a line.
        layout: How rows lie.
        budget: Tokens, padding included, that are computed at once; None for everything in one part.
    """

    pad_token_id: int
    layout: Layout
    budget: int | None

    def __call__(self, rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
        """Lay out rows of ``input_ids`` and ``labels``."""
        lengths = [len(row["input_ids"]) for row in rows]
        if self.layout == "flat":
            bins = fill_lines(lengths, max(self.budget or sum(lengths), max(lengths)))
            flat = DataCollatorForLanguageModeling(self.pad_token_id, padding_free=True)
            return {"parts": [flat([rows[index] for index in line]) for line in bins]}
        width = max(lengths)
        if self.layout == "lines":
            lines = fill_lines(lengths, width)
        else:
            lines = [[index] for index in sorted(range(len(rows)), key=lambda index: -lengths[index])]
        return {"parts": [self._batch(rows, part) for part in divide(lines, lengths, self.budget)]}

    def _batch(self, rows: Sequence[Row], lines: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Tensors of shape (lines, width).

        Where rows share lines there is no attention mask: attention reads the borders off the positions, and the padding at the end
        of a line is the future, which no token looks at.
        """
        width = max(sum(len(rows[index]["input_ids"]) for index in line) for line in lines)
        ids = torch.full((len(lines), width), self.pad_token_id)
        labels = torch.full((len(lines), width), IGNORED)
        positions = torch.empty((len(lines), width), dtype=torch.long)
        for number, line in enumerate(lines):
            start = 0
            for index in line:
                row = rows[index]
                end = start + len(row["input_ids"])
                ids[number, start:end] = torch.tensor(row["input_ids"])
                labels[number, start:end] = torch.tensor(row["labels"])
                labels[number, start] = IGNORED  # the row before has no say in how this one begins
                # Padding goes on counting, so that a line with a single row needs no mask at all.
                positions[number, start:] = torch.arange(width - start)
                start = end
        used = torch.tensor([sum(len(rows[index]["input_ids"]) for index in line) for line in lines])
        batch = {"input_ids": ids, "labels": labels, "num_tokens": used.sum()}
        if self.layout == "padded":
            return batch | {"attention_mask": (torch.arange(width) < used[:, None]).long()}
        return batch | {"position_ids": positions}


def fill_lines(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Put rows on lines of a width, the longest first, each on the first line that has room.

    Args:
        lengths: Tokens of each row, none above the width.
        width: Tokens of a line.

    Returns:
        Lines of row numbers.
    """
    lines: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[index]
        found = next((number for number, left in enumerate(room) if left >= length), None)
        if found is None:
            lines.append([index])
            room.append(width - length)
        else:
            lines[found].append(index)
            room[found] -= length
    return lines


def divide(
    lines: Sequence[list[int]], lengths: Sequence[int], budget: int | None
) -> list[Sequence[list[int]]]:
    """Cut lines into the fewest parts that stay within the budget, of about the same number of tokens.

    Args:
        lines: Row numbers; the widest line first.
        lengths: Tokens of each row.
        budget: Tokens of a part, padding included; a line that is longer is a part of its own.
    """
    if budget is None:
        return [lines]
    parts: list[list[list[int]]] = []
    widest = 0
    for line in sorted(lines, key=lambda line: -sum(lengths[index] for index in line)):
        if not parts or (len(parts[-1]) + 1) * widest > budget:
            parts.append([])
            widest = sum(lengths[index] for index in line)
        parts[-1].append(line)
    return list(parts)


def keeps_apart(model: Any, rows: Sequence[Row], pad_token_id: int, layout: Layout) -> bool:
    """Whether rows that share a line leave each other alone, tried on the model itself with the beginnings of three rows.

    Two things must hold: each row has the outputs it has alone, and exchanging the tokens of the first row does not move those of the
    others. Architectures that carry a state along (Mamba and other linear attention) fail, unless they are told the borders.

    Args:
        model: On its device.
        rows: Of the data.
        pad_token_id: As in training.
        layout: ``flat`` or ``lines``.
    """
    head = 24  # tokens of each row: enough to tell, and quick on the slowest machine
    ids = [list(row["input_ids"][:head]) for row in rows[:3]]
    ids = (ids * 3)[:3]
    shared = StepCollator(pad_token_id, "flat", None) if layout == "flat" else _OneLine(pad_token_id)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            alone = [_outputs(model, [row], shared) for row in ids]
            together = _outputs(model, ids, shared)
            swapped = _outputs(model, [ids[0][::-1], *ids[1:]], shared)
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return False  # this architecture takes no positions
    finally:
        model.train(was_training)
    tolerance = 1e-4 if together.dtype == torch.float32 and not _quantized(model) else 5e-2
    scale = max(1.0, float(together.abs().max()))
    others = slice(len(ids[0]), None)
    apart = (torch.cat(alone) - together).abs().max() <= tolerance * scale
    unmoved = (swapped[others] - together[others]).abs().max() <= 0.2 * tolerance * scale
    return bool(apart and unmoved)


class _OneLine:
    """A collator that puts all rows on one line, in their order."""

    def __init__(self, pad_token_id: int) -> None:
        self.collator = StepCollator(pad_token_id, "lines", None)

    def __call__(self, rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
        return {"parts": [self.collator._batch(rows, [list(range(len(rows)))])]}


def _outputs(model: Any, ids: Sequence[list[int]], collator: Any) -> torch.Tensor:
    """Logits (tokens, vocabulary) of rows on one line, in the order of the rows."""
    rows = [{"input_ids": row, "labels": row} for row in ids]
    (batch,) = collator(rows)["parts"]
    given = {
        key: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
        if key not in ("labels", "num_tokens")
    }
    logits = model(**given, use_cache=False).logits[0]
    if isinstance(collator, _OneLine):
        return torch.as_tensor(logits)
    order = fill_lines([len(row) for row in ids], sum(len(row) for row in ids))[0]
    pieces = dict(zip(order, logits.split([len(ids[index]) for index in order]), strict=True))
    return torch.cat([pieces[index] for index in range(len(ids))])


def _quantized(model: Any) -> bool:
    return bool(getattr(model, "is_quantized", False) or getattr(model, "is_loaded_in_8bit", False))
