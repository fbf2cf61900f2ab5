"""Which model suits this card: from the prediction, and in agreement with the guides' table or with the reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import presets
from engine.advise.variant import BASE_NEEDS_ROWS
from engine.choice import Choice
from engine.display import GIB, gib, printable
from engine.fit import grid
from engine.fit.cards import Card
from engine.fit.decide import Verdict
from engine.fit.setup import architecture_of
from engine.fit.types import Architecture
from engine.models import catalogue

GB = 1e9
SHORT_TEXT = 512  # tokens of what the guides' table calls a short context

Method = Literal["qlora_4bit", "lora_16bit"]
METHODS: tuple[Method, ...] = ("qlora_4bit", "lora_16bit")
COLUMNS: dict[str, Method] = {grid.QLORA: "qlora_4bit", grid.LORA: "lora_16bit"}


# The guides' table


@dataclass(frozen=True, slots=True)
class Need:
    """Least memory for one size and method by the guides' table.

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
    """Least memory for a model of this size, at batch 1 and short texts.

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


def table_difference(
    architecture: Architecture, method: str, free: int, card: Card | None, length: int = grid.LENGTH
) -> str:
    """Why prediction and table do not agree about one model and method on one card.

    Args:
        architecture: The model.
        method: A name of :data:`engine.fit.decide.METHODS`.
        free: Bytes free on the card.
        card: What is known of it.
        length: Tokens of a text.

    Returns:
        One sentence with the numbers; empty when both say the same, or when the table does not speak of this.
    """
    column = COLUMNS.get(method)
    by_table = needed_gb(architecture.params / 1e9, column) if column else None
    if by_table is None or by_table.kind == "at most":
        return ""
    found = grid.cell(architecture, method, free, card, length)
    if (found.verdict == "fits") == (by_table.gb * GB <= free):
        return ""
    name = printable(architecture.name.rpartition("/")[2], 60)
    says = f"The guides' table says {by_table.gb:.3g} GB for the size of {name} with {method}"
    ours, room = f"{found.p95 / GB:.3g} GB", f"{free / GB:.3g} GB"
    short = grid.need(architecture, method, card, SHORT_TEXT)
    if found.verdict == "fits":
        kept = sum(part.bytes for part in short.binding.parts if "weights" not in part.name)
        return (
            f"{says}, and {room} are free; counted tensor by tensor it needs at most {ours}, because gradient checkpointing "
            f"leaves little beside the weights ({kept / GB:.2g} GB with short texts)."
        )
    if short.smi.p95 <= by_table.gb * GB:
        return f"{says}: it counts short texts; {length:,} tokens need up to {ours}, and {room} are free."
    if short.smi.p95 <= free:
        return f"{says}: short texts do fit, but {length:,} tokens need up to {ours}, and {room} are free."
    sixteen = next((part.bytes for part in short.binding.parts if part.name == "weights"), 0)
    wide = (
        f", {sixteen / GB:.2g} GB of them for weights that stay in 16 bits"
        if method == grid.QLORA
        else ", with evaluation, optimizer and what CUDA takes itself"
    )
    return f"{says}; even texts of {SHORT_TEXT} tokens need up to {short.smi.p95 / GB:.3g} GB here{wide}, and {room} are free."


# The suggestion


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model and how to train it.

    Attributes:
        model_id: Hub id from the catalogue.
        params_b: Its size in billions of weights.
        method: A name of :data:`engine.fit.decide.METHODS`; ``LoRA`` on a machine without a GPU.
        p95: Bytes it needs at most in 19 of 20 runs; None without a GPU.
        verdict: Against the memory that is free.
    """

    model_id: str
    params_b: float
    method: str
    p95: int | None = None
    verdict: Verdict = "fits"

    @property
    def label(self) -> str:
        """Such as ``Qwen/Qwen3-8B, QLoRA 4-bit``."""
        return f"{self.model_id}, {self.method}"


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
SMALLEST = "HuggingFaceTB/SmolLM2-135M-Instruct"
ROOM = 2  # a suggestion leaves room for texts this many times as long
_ENOUGH_B = {"style": 8.5, "preferences": 8.5, "task": 8.5, "knowledge": 15.0, "reasoning": 15.0}
_WHY = {
    "style": "a tone is learnt well at this size",
    "preferences": "preferences are learnt well at this size",
    "task": "most tasks are learnt well at this size",
    "knowledge": "larger models hold more knowledge",
    "reasoning": "larger models reason better",
}


def recommend_model(
    free: int | None,
    card: Card | None = None,
    num_rows: int | None = None,
    goal: str = "task",
    length: int = grid.LENGTH,
) -> Choice[Recommendation]:
    """Choose a model, its size and how to train it.

    The largest model that the goal profits from and that leaves room for texts twice as long; in 16 bits where that fits,
    else in 4 bits.

    Args:
        free: Bytes free on the card; ``None`` without a card.
        card: What is known of it; None for one that is not in the table of cards.
        num_rows: Usable rows of the dataset, if known.
        goal: Id of a goal in :mod:`engine.advise.goals`.
        length: Tokens of a text.

    Returns:
        The choice; its reason has the numbers, its alternatives are larger and smaller ones that fit.
    """
    if not free:
        small = [Recommendation(model_id, _params_b(model_id), "LoRA") for model_id in CPU_LADDER]
        return Choice(
            small[0],
            "There is no GPU, so a very small model: 0.135 B weights train on a processor in minutes. The built-in demo "
            "is smaller still and needs no download.",
            tuple(small[1:]),
        )
    offered = [_recommendation(model_id, free, card, length) for model_id in LADDER]
    fitting = [one for one in offered if one.verdict == "fits"]
    if not fitting:
        smallest = _recommendation(SMALLEST, free, card, length)
        fits = "fits" if smallest.verdict == "fits" else "may not fit either"
        reason = (
            f"Even {_name(offered[0])} needs up to {gib(offered[0].p95 or 0)} for texts of {length:,} tokens, and {gib(free)} "
            f"are free; {_name(smallest)} needs {gib(smallest.p95 or 0)} and {fits}."
        )
        return Choice(smallest, reason, (offered[0],))
    enough = _ENOUGH_B.get(goal, _ENOUGH_B["task"])
    useful = [one for one in fitting if one.params_b <= enough] or fitting[:1]
    roomy = [one for one in useful if has_room(one.model_id, free, card, length)]
    best = (roomy or useful)[-1]
    bigger = [one for one in fitting if one.params_b > best.params_b]
    smaller = [one for one in reversed(fitting) if one.params_b < best.params_b]
    return Choice(best, _reason(best, free, card, length, num_rows, goal), tuple(bigger + smaller))


def has_room(model_id: str, free: int, card: Card | None, length: int) -> bool:
    """Whether texts twice as long fit too, in some way of training."""
    return grid.cell(architecture_of(model_id), grid.QLORA, free, card, ROOM * length).verdict == "fits"


def compare_with_table(
    choice: Choice[Recommendation],
    free: int,
    card: Card | None,
    goal: str = "task",
    length: int = grid.LENGTH,
) -> str:
    """Why the suggestion is not what the guides' table would make of this card; empty when it is, or when the table is silent.

    By the table that is the largest model of the same list that the goal profits from, in 16 bits where they fit.
    """
    best = choice.value
    theirs = _by_table(free, goal)
    why = table_difference(architecture_of(best.model_id), best.method, free, card, length)
    if why or theirs is None or theirs == (best.model_id, best.method):
        return why
    model_id, method = theirs
    if _params_b(model_id) < best.params_b or (model_id == best.model_id and method == grid.QLORA):
        return ""
    why = table_difference(architecture_of(model_id), method, free, card, length)
    if why:
        return why
    longest = grid.longest(architecture_of(model_id), method, free, card)
    return (
        f"By the guides' table {model_id.rpartition('/')[2]} with {method} fits. It does, with texts of up to "
        f"{longest:,} tokens; the suggestion leaves room for longer ones."
    )


def _by_table(free: int, goal: str) -> tuple[str, str] | None:
    enough = _ENOUGH_B.get(goal, _ENOUGH_B["task"])
    found: tuple[str, str] | None = None
    for model_id in LADDER:
        if _params_b(model_id) > enough:
            break
        for method in (grid.QLORA, grid.LORA):  # the later one is the better one
            need = needed_gb(_params_b(model_id), COLUMNS[method])
            if need is not None and need.kind != "at most" and need.gb * GB <= free:
                found = (model_id, method)
    return found


def _recommendation(model_id: str, free: int, card: Card | None, length: int) -> Recommendation:
    found = grid.best_cell(architecture_of(model_id), free, card, length)
    return Recommendation(model_id, _params_b(model_id), found.method, found.p95, found.verdict)


def _params_b(model_id: str) -> float:
    model = catalogue.find(model_id)
    assert model is not None  # the ladder names models of the catalogue, which a test checks
    return model.params_b


def _name(one: Recommendation) -> str:
    return f"{one.model_id.rpartition('/')[2]} with {one.method}"


def _reason(
    best: Recommendation, free: int, card: Card | None, length: int, num_rows: int | None, goal: str
) -> str:
    longest = grid.longest(architecture_of(best.model_id), best.method, free, card)
    need = (best.p95 or 0) / GIB
    parts = [
        f"It needs at most {need:.1f} of {gib(free)} with texts of {length:,} tokens, and up to {longest:,} tokens fit"
    ]
    if goal in _WHY and best.params_b > 3:
        parts.append(_WHY[goal])
    if num_rows is not None and num_rows < BASE_NEEDS_ROWS:
        parts.append(f"with {num_rows:,} rows, a model that already follows instructions learns best")
    return "; ".join(parts) + "."
