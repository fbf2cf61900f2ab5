"""What fits into a card's memory, by the published table in ``presets/vram_table.yaml``, and what to choose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import presets
from engine.advise.variant import BASE_NEEDS_ROWS
from engine.choice import Choice
from engine.display import GIB
from engine.models import catalogue

GB = 1e9
TIGHT_ABOVE = 0.9
"""Share of the free memory above which a need counts as tight."""
COMFORT = 0.7
"""Share of the free memory a recommendation may need; the rest is for longer texts, since the table assumes short ones."""

Method = Literal["qlora_4bit", "lora_16bit"]
METHODS: tuple[Method, ...] = ("qlora_4bit", "lora_16bit")
METHOD_NAMES: dict[Method, str] = {"qlora_4bit": "QLoRA 4-bit", "lora_16bit": "LoRA 16-bit"}
TABLE_NOTE = (
    "From a published table of minimum needs (GB of 1,000,000,000 bytes) at batch size 1 and short texts. "
    "Longer texts need more. 8-bit is not in the table; it lies between the two."
)


class Verdict(StrEnum):
    """Whether a training run fits."""

    FITS = "fits"
    TIGHT = "tight"
    NO = "no"


@dataclass(frozen=True, slots=True)
class FitRow:
    """One size trained with one method.

    Attributes:
        params_b: Model size in billions of weights.
        method: ``qlora_4bit`` or ``lora_16bit``.
        needed_gb: Least memory in GB (1e9 bytes).
        verdict: Against the memory that is free.
        interpolated: The size lies between two rows of the table, and so does the need.
    """

    params_b: float
    method: Method
    needed_gb: float
    verdict: Verdict
    interpolated: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """Least memory for one size and method.

    Attributes:
        gb: GB of 1e9 bytes.
        kind: ``table`` (a row of it), ``interpolated`` (between two rows), or ``at most`` (smaller than its first row).
    """

    gb: float
    kind: Literal["table", "interpolated", "at most"]


@cache
def table() -> tuple[tuple[float, dict[Method, float]], ...]:
    """The table as published: size in billions, and GB for each method."""
    import yaml

    rows = yaml.safe_load(Path(presets.__path__[0], "vram_table.yaml").read_text("utf-8"))["rows"]
    return tuple((float(row["params_b"]), {method: float(row[method]) for method in METHODS}) for row in rows)


def needed_gb(params_b: float, method: Method) -> Need | None:
    """Least memory for a model of this size.

    Args:
        params_b: Size in billions of weights.
        method: ``qlora_4bit`` or ``lora_16bit``.

    Returns:
        ``None`` above the largest row: the table says nothing there.
    """
    rows = table()
    smallest, largest = rows[0][0], rows[-1][0]
    if params_b > largest:
        return None
    if params_b < smallest:
        return Need(rows[0][1][method], "at most")
    for (low, low_gb), (high, high_gb) in pairwise(rows):
        if params_b == low:
            return Need(low_gb[method], "table")
        if params_b < high:
            share = (params_b - low) / (high - low)
            return Need(low_gb[method] + share * (high_gb[method] - low_gb[method]), "interpolated")
    return Need(rows[-1][1][method], "table")


def verdict(gb: float, vram_free_bytes: int | None) -> Verdict:
    """Whether a need fits into the memory that is free.

    Args:
        gb: The need in GB (1e9 bytes).
        vram_free_bytes: Free memory of the card in bytes; ``None`` without a card.
    """
    free = vram_free_bytes or 0
    if gb * GB > free:
        return Verdict.NO
    return Verdict.TIGHT if gb * GB > TIGHT_ABOVE * free else Verdict.FITS


def what_fits(vram_free_bytes: int | None, sizes: tuple[float, ...] | None = None) -> tuple[FitRow, ...]:
    """The table against one card: a row for each size and method.

    Args:
        vram_free_bytes: Free memory of the card in bytes; ``None`` without a card, where nothing fits.
        sizes: Sizes in billions to show instead of the table's own; those between its rows are interpolated.
    """
    wanted = tuple(size for size, _ in table()) if sizes is None else sizes
    rows: list[FitRow] = []
    for size in wanted:
        for method in METHODS:
            need = needed_gb(size, method)
            if need is not None:
                fit = verdict(need.gb, vram_free_bytes)
                rows.append(FitRow(size, method, round(need.gb, 1), fit, need.kind == "interpolated"))
    return tuple(rows)


def describe_fit(vram_free_bytes: int | None) -> str:
    """One plain sentence for above the table."""
    if not vram_free_bytes:
        return (
            "No usable GPU was found. Training runs on the processor: right for the built-in demo and for models below "
            "0.5 billion weights, too slow for larger ones."
        )
    best = {
        method: max((row.params_b for row in what_fits(vram_free_bytes) if row.method == method
                     and row.verdict is not Verdict.NO), default=None)
        for method in METHODS
    }  # fmt: skip
    free = f"{vram_free_bytes / GIB:.1f} GiB ({vram_free_bytes / GB:.1f} GB) free"
    qlora, lora = best["qlora_4bit"], best["lora_16bit"]
    if qlora is None:
        first, needs = table()[0]
        return (
            f"{free}: less than the {needs['qlora_4bit']:g} GB that the table's smallest size ({first:g} B) needs. Models "
            "below 2 B may still fit."
        )
    with_lora = (
        f"up to {lora:g} B with LoRA" if lora is not None else "none of the table's sizes with plain LoRA"
    )
    return f"{free}: models up to {qlora:g} B fit with QLoRA (4-bit), {with_lora} (16-bit)."


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model and how to hold it in memory.

    Attributes:
        model_id: Hub id from the catalogue.
        params_b: Its size in billions of weights.
        load_in_4bit: QLoRA: hold the frozen model in 4 bits.
        needed_gb: Least memory in GB by the table; ``None`` on a machine without a GPU.
    """

    model_id: str
    params_b: float
    load_in_4bit: bool
    needed_gb: float | None

    @property
    def label(self) -> str:
        """Such as ``Qwen/Qwen3-8B, QLoRA 4-bit``."""
        if self.load_in_4bit:
            return f"{self.model_id}, {METHOD_NAMES['qlora_4bit']}"
        return f"{self.model_id}, {METHOD_NAMES['lora_16bit'] if self.needed_gb else 'LoRA'}"


# One model to start with for each size: not gated, widely used, text only, with its own chat template.
LADDER = (
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-1.7B",
    "Qwen/Qwen3-4B-Instruct-2507",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-14B",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen2.5-72B-Instruct",
)
CPU_LADDER = ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", "Qwen/Qwen3-0.6B")
SMALL_CARD_LADDER = ("Qwen/Qwen3-0.6B", "HuggingFaceTB/SmolLM2-135M-Instruct")
SMALL_CARD_GB = 3.5  # the table's smallest need
_ENOUGH_B = {"style": 8.5, "preferences": 8.5, "task": 8.5, "knowledge": 15.0, "reasoning": 15.0}
_WHY = {
    "style": "a tone is learnt well at this size",
    "preferences": "preferences are learnt well at this size",
    "task": "most tasks are learnt well at this size",
    "knowledge": "larger models hold more knowledge",
    "reasoning": "larger models reason better",
}


def recommend_model(
    vram_free_bytes: int | None, num_rows: int | None = None, goal: str = "task"
) -> Choice[Recommendation]:
    """Choose a model, its size and whether to hold it in 4 bits.

    The largest model that the goal profits from and that leaves about a third of the card free; in 16 bits where that
    fits as comfortably, else in 4 bits.

    Args:
        vram_free_bytes: Free memory of the card in bytes; ``None`` without a card.
        num_rows: Usable rows of the dataset, if known.
        goal: Id of a goal in :mod:`engine.advise.goals`.

    Returns:
        The choice; its reason has the numbers, its alternatives are larger and smaller ones that fit.
    """
    if not vram_free_bytes:
        small = [Recommendation(model_id, _params_b(model_id), False, None) for model_id in CPU_LADDER]
        return Choice(
            small[0],
            "There is no GPU, so a very small model: 0.135 B weights train on a processor in minutes. The built-in demo "
            "is smaller still and needs no download.",
            tuple(small[1:]),
        )
    free_gb = vram_free_bytes / GB
    free = f"{vram_free_bytes / GIB:.1f} GiB ({free_gb:.1f} GB)"
    if free_gb < SMALL_CARD_GB:
        small = [Recommendation(model_id, _params_b(model_id), True, None) for model_id in SMALL_CARD_LADDER]
        return Choice(
            small[0],
            f"With {free} free even the table's smallest size (3 B, {SMALL_CARD_GB} GB with QLoRA) does not fit; a model "
            "of 0.6 B in 4 bits usually does.",
            tuple(small[1:]),
        )
    fitting = [rec for model_id in LADDER if (rec := _recommend(model_id, free_gb))]
    enough = _ENOUGH_B.get(goal, _ENOUGH_B["task"])
    comfortable = [
        rec for rec in fitting if (rec.needed_gb or 0) <= COMFORT * free_gb and rec.params_b <= enough
    ]
    not_tight = [
        rec for rec in fitting if (rec.needed_gb or 0) <= TIGHT_ABOVE * free_gb and rec.params_b <= enough
    ]
    best = (comfortable or not_tight or fitting)[-1 if comfortable or not_tight else 0]
    bigger = [rec for rec in fitting if rec.params_b > best.params_b]
    smaller = [rec for rec in reversed(fitting) if rec.params_b < best.params_b]
    return Choice(best, _reason(best, free, free_gb, num_rows, goal), tuple(bigger + smaller))


def _recommend(model_id: str, free_gb: float) -> Recommendation | None:
    """The model in the best number format that fits; ``None`` where none does."""
    params_b = _params_b(model_id)
    lora, qlora = (needed_gb(params_b, method) for method in ("lora_16bit", "qlora_4bit"))
    if lora and lora.gb <= COMFORT * free_gb:
        return Recommendation(model_id, params_b, False, round(lora.gb, 1))
    if qlora and qlora.gb <= free_gb:
        return Recommendation(model_id, params_b, True, round(qlora.gb, 1))
    return None


def _params_b(model_id: str) -> float:
    model = catalogue.find(model_id)
    assert model is not None  # the ladder names models of the catalogue, which a test checks
    return model.params_b


def _reason(best: Recommendation, free: str, free_gb: float, num_rows: int | None, goal: str) -> str:
    need = needed_gb(best.params_b, "qlora_4bit" if best.load_in_4bit else "lora_16bit")
    assert need is not None  # only models within the table are recommended for a card
    about = f"at most {need.gb:.1f} GB" if need.kind == "at most" else f"about {need.gb:.1f} GB"
    how = " (interpolated between rows of the table)" if need.kind == "interpolated" else ""
    parts = [
        f"{best.model_id.rpartition('/')[2]} ({best.params_b:.1f} B weights) with "
        f"{'QLoRA (4-bit)' if best.load_in_4bit else 'LoRA (16-bit)'} needs {about}{how}; {free} are free, which leaves "
        f"{free_gb - need.gb:.1f} GB for longer texts"
    ]
    if goal in _WHY and best.params_b > 3:
        parts.append(_WHY[goal])
    if num_rows is not None and num_rows < BASE_NEEDS_ROWS:
        parts.append(f"with {num_rows:,} rows, a model that already follows instructions learns best")
    return "; ".join(parts) + "."
