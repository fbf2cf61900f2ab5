"""The ways to train as the wizard offers them, and the marks of what fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.config.draft import Draft
from engine.config.schema import keys
from engine.display import gib
from engine.fit import grid
from engine.fit.decide import METHODS, Advice, Verdict

MARKS: dict[Verdict, tuple[str, str]] = {
    "fits": ("✓", "$success"),
    "tight": ("~", "$warning"),
    "no": ("✗", "$error"),
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """One way to train.

    Attributes:
        id: As in the draft: qlora, lora8, lora, freeze or full.
        title: Its name.
        words: What it costs and brings, in a few words.
        setup: What it changes in a run whose memory is predicted.
    """

    id: str
    title: str
    words: str
    setup: dict[str, Any]


TUNINGS = (
    Tuning("lora", "LoRA", "small added matrices are trained", METHODS[grid.LORA]),
    Tuning("qlora", "QLoRA, 4-bit", "the same, model held in 4 bits", METHODS[grid.QLORA]),
    Tuning("lora8", "LoRA, 8-bit", "the same, in 8 bits: slower", METHODS[grid.LORA_8BIT]),
    Tuning(
        "freeze",
        "Last layers",
        "only the last layers are changed",
        {"tuning": "freeze", "quantization": "none"},
    ),
    Tuning("full", "Full", "every weight is changed", METHODS[grid.FULL]),
)


def memory_words(cell: grid.Cell) -> str:
    """Such as ``✓ 8.2 GiB``."""
    return f"{MARKS[cell.verdict][0]} {gib(cell.p95)}"


def advice_sentence(advice: Advice) -> str:
    """What makes it fit, and what that costs."""
    if advice.prediction is None:
        return "No setting makes it fit: choose a smaller model, or a card with more memory."
    changes = ", ".join(f"{change.words} (costs {change.cost})" for change in advice.changes)
    return f"This makes it fit: {changes}. Then it needs at most {gib(advice.prediction.smi.p95)}."


def apply_advice(draft: Draft, advice: Advice) -> None:
    """Put the changes into the draft, as if the user had made them."""
    section_of = keys()
    for change in advice.changes:
        if change.key in ("tuning", "load_in_4bit", "load_in_8bit"):
            draft.tuning = {"nf4": "qlora", "fp4": "qlora", "int8": "lora8"}.get(
                advice.setup.quantization, advice.setup.tuning
            )
        elif change.key in section_of:
            value = change.value
            words = {True: "on", False: "off"}
            draft.settings[change.key] = words[value] if isinstance(value, bool) else str(value)
            if change.key == "per_device_train_batch_size":
                draft.settings["gradient_accumulation_steps"] = str(advice.setup.gradient_accumulation)
