"""What lies in a card's memory during training, as a bar: each part named, the free memory as a line."""

from __future__ import annotations

from dataclasses import dataclass

from engine.display import GIB, gib
from engine.fit.types import Prediction
from tui.plot.glyphs import Charset, charset
from tui.widgets.rows import Row, Rows

# From what the predictors call a piece of memory to what a bar of some ten parts can show.
GROUPS = {
    "weights": "model",
    "quantized weights": "model",
    "scales of the quantized weights": "model",
    "gathered weights of the layer at work": "model",
    "weights being quantized": "loading",
    "weights on their way": "loading",
    "weights of the model to compare with": "model",
    "adapters": "adapters",
    "16-bit copies of adapters": "adapters",
    "gradients": "gradients",
    "optimizer states": "optimizer",
    "temporaries of the optimizer step": "optimizer step",
    "logits and loss": "loss",
    "logits gathered by the evaluation": "loss",
    "temporary": "work space",
    "dequantized weights": "work space",
    "workspaces of the matrix library": "work space",
    "buckets in which the GPUs exchange gradients": "other cards",
    "rounding": "reserve",
}
REST = "activations"  # what is computed from the texts: everything that is not listed above
CONTEXT, RESERVE = "CUDA", "reserve"  # the driver's own, and what the allocator holds beyond the tensors
ORDER = (
    "model", "loading", "adapters", "gradients", "optimizer", "optimizer step", "activations", "loss", "evaluation",
    "work space", "other cards", RESERVE, CONTEXT,
)  # fmt: skip
STYLES = {
    "model": "$primary", "loading": "$warning", "adapters": "$success", "gradients": "$warning",
    "optimizer": "$error", "optimizer step": "$error", "activations": "$foreground", "loss": "$warning",
    "evaluation": "$warning", "work space": "$muted", "other cards": "$muted", RESERVE: "$muted", CONTEXT: "$muted",
}  # fmt: skip
# A part is known by its character too. ASCII uses the first letters of the names.
LETTERS = dict(zip(ORDER, "MlagoOALEwcrC", strict=True))
BLOCKS = dict(zip(ORDER, "█▌▓▒░▐=x+:%o-", strict=True))
FINE = dict(zip(ORDER, "█▙▓▒░▚╱╳╋┄┅╌═", strict=True))
FILLS: dict[Charset, dict[str, str]] = {"braille": FINE, "block": BLOCKS, "ascii": LETTERS}


@dataclass(frozen=True, slots=True)
class Marks:
    """The numbers under the bar, in bytes: the middle of the prediction, its upper end, what is free."""

    expected: int
    at_most: int
    free: int


def parts_of(prediction: Prediction) -> tuple[tuple[str, int], ...]:
    """What is in memory at the heaviest moment, in the order of the bar: name and bytes. Adds up to the expected need."""
    binding = prediction.binding
    rest = "evaluation" if binding.name == "evaluation" else REST
    sums: dict[str, int] = {}
    for part in binding.parts:
        name = GROUPS.get(part.name, rest)
        name = rest if name == "loss" and rest == "evaluation" else name
        sums[name] = sums.get(name, 0) + part.bytes
    sums[RESERVE] = sums.get(RESERVE, 0) + max(0, prediction.reserved.p50 - binding.bytes)
    sums[CONTEXT] = max(0, prediction.smi.p50 - prediction.reserved.p50)
    return tuple((name, sums[name]) for name in ORDER if sums.get(name, 0) > 0)


def memory_bar(prediction: Prediction, free: int, width: int, glyphs: Charset) -> tuple[Row, ...]:
    """The bar, its marks and its legend.

    Args:
        prediction: What one card needs.
        free: Bytes free on it; the line.
        width: Columns there are, 24 or more.
        glyphs: What the terminal can draw.
    """
    parts = parts_of(prediction)
    marks = Marks(prediction.smi.p50, max(prediction.smi.p50, prediction.smi.p95), free)
    return (
        _bar(parts, marks, width, glyphs),
        *_marks(marks, width, glyphs),
        *_legend(parts, width, FILLS[glyphs]),
    )


def _scale(marks: Marks, width: int) -> float:
    """Cells for each byte, so that the need and the line are both in the picture."""
    return (width - 1) / max(1, marks.at_most, marks.free)


def _bar(parts: tuple[tuple[str, int], ...], marks: Marks, width: int, glyphs: Charset) -> Row:
    scale = _scale(marks, width)
    line, high = round(marks.free * scale), round(marks.at_most * scale)
    cells: list[tuple[str, str]] = []
    done = 0
    for name, size in parts:
        done += size
        # Rounding the end of each part, not its width, keeps the whole as long as it should be.
        cells += [(FILLS[glyphs][name], STYLES[name])] * (round(done * scale) - len(cells))
    uncertain = "?" if glyphs == "ascii" else "·"
    cells += [(uncertain, "$warning" if high <= line else "$error")] * (high - len(cells))
    cells += [(" ", "")] * (width - len(cells))
    cells[min(line, width - 1)] = ("|" if glyphs == "ascii" else "┃", "bold")
    row: list[tuple[str, str]] = []
    for char, style in cells:
        if row and row[-1][1] == style:
            row[-1] = (row[-1][0] + char, style)
        else:
            row.append((char, style))
    return tuple(row)


def _marks(marks: Marks, width: int, glyphs: Charset) -> list[Row]:
    """Labels under the places they mean, in as few rows as they take."""
    scale = _scale(marks, width)
    point = "^" if glyphs == "ascii" else "▲"
    wanted = [
        (marks.free, f"{gib(marks.free)} free", "bold"),
        (marks.at_most, f"{gib(marks.expected)} expected, {gib(marks.at_most)} at most", ""),
    ]
    rows: list[list[tuple[int, str, str]]] = []
    for value, words, style in wanted:
        at = min(width - 1, round(value * scale))
        right, left = f"{point} {words}", f"{words} {point}"
        places = [(at, right)] if at + len(right) <= width else []
        if at + 1 - len(left) >= 0:
            places.append((at + 1 - len(left), left))
        places = places or [(max(0, width - len(right)), right)]
        found = next(
            ((row, place) for row in rows for place in places if _is_free(row, *place)),
            None,
        )
        if found is None:
            rows.append([])
            found = (rows[-1], places[0])
        found[0].append((*found[1], style))
    return [_line(sorted(row)) for row in rows]


def _is_free(row: list[tuple[int, str, str]], start: int, text: str) -> bool:
    return all(start + len(text) + 2 <= other or other + len(words) + 2 <= start for other, words, _ in row)


def _line(labels: list[tuple[int, str, str]]) -> Row:
    out: list[tuple[str, str]] = []
    at = 0
    for start, text, style in labels:
        out += [(" " * (start - at), ""), (text, style)]
        at = start + len(text)
    return tuple(piece for piece in out if piece[0])


def _legend(parts: tuple[tuple[str, int], ...], width: int, fills: dict[str, str]) -> list[Row]:
    rows: list[list[tuple[str, str]]] = [[]]
    used = 0
    small = sum(size for _, size in parts) < GIB
    for name, size in parts:
        words = f" {name} {_number(size, small)}"
        gap = "  " if used else ""
        if used and used + len(gap) + 1 + len(words) > width:
            rows.append([])
            used, gap = 0, ""
        rows[-1] += [(gap, ""), (fills[name], STYLES[name]), (words, "")]
        used += len(gap) + 1 + len(words)
    if used + 4 <= width:
        rows[-1].append((" MiB" if small else " GiB", "$muted"))
    return [tuple(piece for piece in row if piece[0]) for row in rows]


def _number(size: int, small: bool) -> str:
    if small:
        return f"{size / 2**20:.0f}" if size >= 2**19 else "<1"
    return f"{size / GIB:.1f}" if size >= 0.05 * GIB else "<0.1"


class MemoryBar(Rows):
    """The bar on a screen; it is as high as it must be, and not there while nothing is known."""

    DEFAULT_CSS = "MemoryBar { height: 0; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self._shown: tuple[Prediction, int] | None = None

    def show(self, prediction: Prediction | None, free: int) -> None:
        """Show another prediction; only the cells that change are painted."""
        self._shown = None if prediction is None else (prediction, free)
        self._draw_bar()

    def on_resize(self) -> None:
        """Draw it as wide as the screen now is."""
        self._draw_bar()

    def _draw_bar(self) -> None:
        width = self.container_size.width if not self.size.width else self.size.width
        rows = memory_bar(*self._shown, max(24, width), charset()) if self._shown and width else ()
        if self.styles.height is None or self.styles.height.value != len(rows):
            self.styles.height = len(rows)
        self.set_rows(rows)
