"""What the screens say about a model: its size, its verdict, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from engine.advise.variant import VariantAdvice
from engine.display import gib, printable
from engine.errors import UserError
from engine.fit import grid
from engine.fit.cards import known_cards
from engine.fit.setup import architecture_of
from engine.hub.facts import RepoFacts
from engine.models.folder import ModelFacts
from tui.hub import facts_words, twin_of
from tui.planning import Target
from tui.text import hanging
from tui.tuning import memory_words


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What is said about one model.

    Attributes:
        facts: What it is.
        advice: Whether it suits the data.
        cell: Whether it fits, and how; None without a card, or where its size is not known.
    """

    facts: ModelFacts
    advice: VariantAdvice
    cell: grid.Cell | None


def size(params_b: float) -> str:
    """Weights as people say them: ``8.2 B``, ``135 M``."""
    return f"{params_b:.3g} B" if params_b >= 1 else f"{params_b * 1000:.3g} M"


def facts_line(facts: ModelFacts) -> str:
    """What is known of a model, in one line."""
    params = size(facts.params / 1e9) + " weights" if facts.params else ""
    variant = {"base": "base", "instruct": "instruct", "vision": "reads images"}.get(facts.name.variant, "")
    context = f"up to {facts.context:,} tokens" if facts.context else ""
    licence = f"licence {facts.licence}" if facts.licence else ""
    return " · ".join(
        printable(part, 80) for part in (facts.name.family, params, variant, context, licence) if part
    )


def cell_of(model: str, target: Target) -> grid.Cell | None:
    """The best way to train a model on the target; None when nothing is known of its size."""
    try:
        return grid.best_cell(architecture_of(model), target.free, target.card)
    except UserError:
        return None


def fit_sentence(cell: grid.Cell, target: Target) -> str:
    """Whether a model fits, in words, and for one that does not what it would take."""
    free, need = gib(target.free), gib(cell.p95)
    where = f"on the {printable(target.name, 40)}" if target.planned else "here"
    texts = f"texts of {grid.LENGTH:,} tokens"
    if cell.verdict == "fits":
        return f"It fits {where} with {cell.method}: at most {need} of {free} for {texts}."
    larger = min(
        (card for card in known_cards() if card.usable >= cell.p95),
        key=lambda card: card.usable,
        default=None,
    )
    card = f"a card such as the {larger.name} has that" if larger else "no single card has that much"
    if cell.verdict == "tight":
        return (
            f"Tight {where}: {cell.method} needs {gib(cell.p50)} to {need} for {texts}, and {free} are free. Shorter texts "
            f"may fit; {card}."
        )
    return f"It does not fit {where}: even {cell.method} needs up to {need} for {texts}, and {free} are free; {card}."


def fit_words(cell: grid.Cell) -> str:
    """Such as ``✓ QLoRA 8.2 GiB``."""
    mark, need = memory_words(cell).split(" ", 1)
    return f"{mark} {cell.method.partition(' ')[0]} {need}"


def model_line(name: str, params: str, words: str) -> Content:
    return Content.assemble(f"{printable(name, 60):<36}", f"{params:>7}", (f"   {words}", "$muted"))


def hub_lines(
    model: str, facts: RepoFacts | None, obstacle: UserError | None, asking: bool, silent: str, width: int
) -> list[Content]:
    """What the Hub says of a model; first of all what is in the way.

    Args:
        model: Its id.
        facts: The Hub's answer; None without one.
        obstacle: Why it cannot be had or not be trained.
        asking: The answer is awaited.
        silent: Why the Hub is not asked; empty when it may be, or need not be.
        width: Cells in a line.
    """
    lines = []
    if obstacle is not None:
        lines.append(hanging("✗", "bold $error", printable(obstacle.what, 400), width, "bold $error"))
        lines.append(hanging("→", "bold $primary", printable(obstacle.fix, 500), width))
        if twin := twin_of(model, obstacle):
            lines.append(hanging("u", "bold $primary", f"takes {twin} instead.", width))
    if facts is not None:
        lines.append(hanging("→", "bold $primary", " ".join(facts_words(facts)), width))
    elif asking:
        lines.append(Content.styled("Asking the Hub ...", "$muted"))
    elif silent and obstacle is None:
        lines.append(hanging("!", "bold $warning", silent, width))
    return lines
