"""What fits here: every usual size against every way to train, on one card, at one length of text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from engine.fit.cards import Card
from engine.fit.decide import METHODS, Verdict, longest_below, verdict
from engine.fit.predict import predict
from engine.fit.setup import architecture_of
from engine.fit.types import Architecture, Prediction, TrainSetup

LENGTH = 2048
LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
"""Lengths in tokens that a screen offers."""
LORA, LORA_8BIT, QLORA, FULL = "LoRA 16-bit", "LoRA 8-bit", "QLoRA 4-bit", "full"
SUGGESTED_ORDER = (LORA, QLORA)
"""Best first. 8 bits are slower than both and lie between them; full training is never needed to begin with."""


@dataclass(frozen=True, slots=True)
class Size:
    """A size as people say it, and the model of the catalogue that stands for it.

    Attributes:
        billions: Weights in billions, rounded.
        model: Hub id.
    """

    billions: int
    model: str

    @property
    def model_name(self) -> str:
        """Without its owner, and without what says only how it was tuned."""
        return self.model.rpartition("/")[2].removesuffix("-Instruct")


SIZES = (
    Size(1, "meta-llama/Llama-3.2-1B-Instruct"),
    Size(3, "meta-llama/Llama-3.2-3B-Instruct"),
    Size(8, "Qwen/Qwen3-8B"),
    Size(14, "Qwen/Qwen3-14B"),
    Size(32, "Qwen/Qwen3-32B"),
    Size(70, "meta-llama/Llama-3.3-70B-Instruct"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to train one model.

    Attributes:
        method: Its name in :data:`engine.fit.decide.METHODS`.
        verdict: Against the memory that is free.
        p50: Bytes that ``nvidia-smi`` will show in half of the runs at most.
        p95: The same for 19 of 20 runs.
    """

    method: str
    verdict: Verdict
    p50: int
    p95: int


@dataclass(frozen=True, slots=True)
class GridRow:
    """One size.

    Attributes:
        size: Which, and the model that stands for it.
        cells: One for each of :data:`engine.fit.decide.METHODS`, in that order.
        best: The best way to train it here; None when nothing fits at this length.
        longest: Tokens of the longest text that fits with `best`, or with QLoRA where nothing fits; 0 for none.
    """

    size: Size
    cells: tuple[Cell, ...]
    best: str | None
    longest: int


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole table.

    Attributes:
        length: Tokens of a text, at batch 1 with gradient checkpointing and evaluation.
        free: Bytes that are free on the card.
        rows: Small to large.
    """

    length: int
    free: int
    rows: tuple[GridRow, ...]


def what_fits(free: int, card: Card | None, length: int = LENGTH, sizes: tuple[Size, ...] = SIZES) -> Grid:
    """The table for one card.

    Args:
        free: Bytes that are free on the card now.
        card: What is known of that kind of card; None for one that is not in the table of cards.
        length: Tokens of a text.
        sizes: The rows.
    """
    rows = []
    for size in sizes:
        architecture = architecture_of(size.model)
        cells = tuple(cell(architecture, method, free, card, length) for method in METHODS)
        best = next(
            (
                name
                for name in SUGGESTED_ORDER
                for one in cells
                if one.method == name and one.verdict == "fits"
            ),
            None,
        )
        rows.append(GridRow(size, cells, best, longest(architecture, best or QLORA, free, card)))
    return Grid(length, free, tuple(rows))


def setup_of_cell(architecture: Architecture, method: str, card: Card | None, length: int) -> TrainSetup:
    """The run a cell stands for: finetui's defaults with one text at once, evaluation included.

    A text is never longer than the model can read. Cards before Ampere compute in float16 and train in float32.
    """
    limit = architecture.max_length or length
    setup = TrainSetup(batch=1, eval_batch=1, seq_len=min(length, limit), **METHODS[method])
    if card is not None and card.compute_capability < (8, 0):
        return replace(setup, dtype="float16", trained_dtype="float32")
    return setup


def need(architecture: Architecture, method: str, card: Card | None, length: int = LENGTH) -> Prediction:
    """What one cell needs; remembered, because screens ask again and again."""
    return _need(architecture, method, card, length)


def cell(architecture: Architecture, method: str, free: int, card: Card | None, length: int = LENGTH) -> Cell:
    """One way to train one model; PyTorch gives cached memory back before it needs more than what is free."""
    prediction = need(architecture, method, _with_free(card, free), length)
    return Cell(method, verdict(prediction, free), prediction.smi.p50, prediction.smi.p95)


def best_cell(architecture: Architecture, free: int, card: Card | None, length: int = LENGTH) -> Cell:
    """The best way to train a model here: the first that fits, else the first that is tight, else QLoRA, which needs least."""
    cells = []
    for method in SUGGESTED_ORDER:
        found = cell(architecture, method, free, card, length)
        if found.verdict == "fits":
            return found
        cells.append(found)
    return next((one for one in reversed(cells) if one.verdict == "tight"), cells[-1])


def longest(architecture: Architecture, method: str, free: int, card: Card | None) -> int:
    """The longest text that fits, in tokens; see :func:`engine.fit.decide.longest_below`."""
    held = _with_free(card, free)
    return longest_below(
        lambda length: need(architecture, method, held, length).smi.p95,
        free,
        architecture.max_length or 131_072,
    )


def _with_free(card: Card | None, free: int) -> Card | None:
    return None if card is None else replace(card, usable=free)


@lru_cache(maxsize=4096)
def _need(architecture: Architecture, method: str, card: Card | None, length: int) -> Prediction:
    return predict(architecture, setup_of_cell(architecture, method, card, length), card=card)
