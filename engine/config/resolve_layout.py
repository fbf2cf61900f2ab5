"""How the rows of a step lie: side by side on lines, or one a line with its like."""

from __future__ import annotations

from engine.choice import Choice
from engine.config.filling import Filling
from engine.fit.types import Architecture


def fill_layout(filling: Filling, architecture: Architecture | None) -> None:
    """Choose packing and length grouping for the objectives that have them."""
    config = filling.config
    if config.method.objective not in ("sft", "cpt"):
        return
    split = config.training.sharding == "fsdp" and (config.training.num_processes or 1) > 1
    filling.fill(
        "packing", lambda: choose_packing(architecture, config.model.attn_implementation or "sdpa", split)
    )
    filling.fill("group_by_length", lambda: choose_grouping(bool(filling.config.training.packing)))


def choose_packing(architecture: Architecture | None, attention: str, split: bool) -> Choice[bool]:
    """Side by side where attention can keep rows apart."""
    if split:
        return Choice(
            False, "The model is split between cards, where it cannot be tried whether rows stay apart."
        )
    linear = architecture.linear_attention_layers if architecture else 0
    if linear and attention != "flash_attention_2":
        return Choice(
            False,
            f"{linear} layers of this model carry a memory from token to token, which would run from one row into the next.",
        )
    return Choice(
        True,
        f"Short rows share a line instead of being padded; {attention} keeps them apart, which is tried before the first step.",
        (False,),
    )


def choose_grouping(packing: bool) -> Choice[bool]:
    """Like with like where rows cannot share a line."""
    if packing:
        return Choice(False, "Rows share lines, so the order of the data can stay fully random.", (True,))
    return Choice(True, "Rows of like length together need little padding.", (False,))
