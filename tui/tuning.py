"""The four ways to train as the wizard offers them, and which one suits the machine."""

from __future__ import annotations

from dataclasses import dataclass

from engine.advise import fits
from engine.choice import Choice
from engine.display import GIB


@dataclass(frozen=True, slots=True)
class Tuning:
    """One way to train.

    Attributes:
        id: As in the draft: qlora, lora8, lora or full.
        title: Its name.
        words: What it costs and brings, in a few words.
        method: Its column of the memory table, if it has one.
    """

    id: str
    title: str
    words: str
    method: fits.Method | None = None


TUNINGS = (
    Tuning("lora", "LoRA", "trains small added matrices, not the model", "lora_16bit"),
    Tuning("qlora", "QLoRA, 4-bit", "the same, model held in 4 bits: least memory", "qlora_4bit"),
    Tuning("lora8", "LoRA, 8-bit", "the same, model held in 8 bits: slower"),
    Tuning("full", "Full", "changes every weight: several times the memory"),
)


def memory_words(tuning: Tuning, params_b: float | None, free: int | None) -> str:
    """Such as ``✓ 8 GB``; empty where the table says nothing or there is no card."""
    need = fits.needed_gb(params_b, tuning.method) if tuning.method and params_b else None
    if need is None or not free:
        return ""
    mark = {fits.Verdict.FITS: "✓", fits.Verdict.TIGHT: "~", fits.Verdict.NO: "✗"}[
        fits.verdict(need.gb, free)
    ]
    return f"{mark} {'up to ' if need.kind == 'at most' else ''}{need.gb:.3g} GB"


def recommend_tuning(params_b: float | None, free: int | None) -> Choice[str]:
    """LoRA where it fits comfortably, else QLoRA.

    Args:
        params_b: Weights of the model in billions; None when unknown.
        free: Free memory of the card in bytes; None without a card.
    """
    if not free:
        return Choice("lora", "On a processor LoRA is the fastest, and memory is no problem.", ("full",))
    room = f"{free / GIB:.1f} GiB are free"
    if params_b is None:
        return Choice(
            "qlora", f"The size of the model is not known, and {room}; QLoRA needs least.", ("lora",)
        )
    need = fits.needed_gb(params_b, "lora_16bit")
    if need is not None and need.gb * fits.GB <= fits.COMFORT * free:
        return Choice("lora", f"LoRA needs {_about(need)}, and {room}.", ("qlora", "full"))
    small = fits.needed_gb(params_b, "qlora_4bit")
    if need is None or small is None:
        return Choice("qlora", f"QLoRA needs least, and {room}.", ("lora8",))
    return Choice(
        "qlora",
        f"QLoRA needs {_about(small)} where LoRA needs {_about(need)}; {room}.",
        ("lora8", "lora"),
    )


def _about(need: fits.Need) -> str:
    return f"{'at most' if need.kind == 'at most' else 'about'} {need.gb:.3g} GB"
