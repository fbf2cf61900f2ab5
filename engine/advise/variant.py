"""Base or instruct, vision or GGUF: what suits the data at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.choice import Choice
from engine.models import catalogue
from engine.models.naming import ModelName

BASE_NEEDS_ROWS = 2000
"""Rows from which a base model can learn to answer at all."""


@dataclass(frozen=True, slots=True)
class VariantAdvice:
    """What speaks for or against a variant.

    Attributes:
        level: ``good``, ``advised against`` (possible, with the reason), or ``refused`` (cannot be trained).
        reasons: One sentence each.
        better: A model to take instead, where one is known.
    """

    level: Literal["good", "advised against", "refused"]
    reasons: tuple[str, ...]
    better: str | None = None


def recommend_variant(num_rows: int | None) -> Choice[Literal["instruct", "base"]]:
    """Instruct or base for this many usable rows (``None``: not known yet)."""
    if num_rows is not None and num_rows >= BASE_NEEDS_ROWS:
        return Choice(
            "instruct",
            f"An instruct model can already hold a conversation. With {num_rows:,} rows (at least {BASE_NEEDS_ROWS:,}) a "
            "base model works too, if you want your own format from the ground up.",
            ("base",),
        )
    rows = (
        "Until the dataset is known"
        if num_rows is None
        else f"With {num_rows:,} rows (fewer than {BASE_NEEDS_ROWS:,})"
    )
    return Choice(
        "instruct",
        f"{rows}, an instruct model is the safe choice: it can already hold a conversation.",
        ("base",),
    )


def advise_variant(
    name: ModelName,
    num_rows: int | None,
    *,
    own_template: bool = True,
    has_template: bool | None = None,
    has_images: bool = False,
) -> VariantAdvice:
    """Advice on a model for a dataset.

    Args:
        name: What the model's name says (as in :class:`engine.models.folder.ModelFacts`).
        num_rows: Usable rows of the dataset; ``None`` when not known yet.
        own_template: The conversation is written with the model's own chat template, not another one.
        has_template: The model brings a chat template; ``None`` when unknown.
        has_images: The dataset has images.
    """
    if not name.trainable:
        return VariantAdvice("refused", name.notes or ("This model cannot be trained.",), name.twin)
    against: list[str] = []
    better: str | None = None
    if has_images:
        against.append("The dataset has images; this release trains on text only.")
    elif name.variant == "vision":
        against.append(
            "A vision model spends memory on a part that reads images, and the dataset has none. A text model of the same "
            "size learns the same in less."
        )
    if not name.tuned and num_rows is not None and num_rows < BASE_NEEDS_ROWS:
        twin = catalogue.instruct_twin(name.name)
        better = twin.id if twin else None
        against.append(
            f"A base model only continues text. {num_rows:,} rows are too few to teach it to answer as well as its "
            f"instruct version does; from {BASE_NEEDS_ROWS:,} rows on it can work."
        )
    if name.tuned and not own_template:
        against.append(
            "An instruct model learnt to answer in its own chat template. With another one it has to learn the format "
            "anew, and loses much of what it can do. Choose the model's own template."
        )
    elif name.tuned and has_template is False:
        against.append(
            "This model follows instructions but brings no chat template, so the format it was trained with is unknown. "
            "Take a copy with its template, or its base model."
        )
    if against:
        return VariantAdvice("advised against", tuple(against), better)
    good = (
        "An instruct model: it already answers questions, and learns your way of answering from few rows."
        if name.tuned
        else "A base model: it learns your format from the ground up"
        + (
            f", and {num_rows:,} rows are enough for that."
            if num_rows is not None
            else f"; have at least {BASE_NEEDS_ROWS:,} rows."
        )
    )
    return VariantAdvice("good", (good,))
