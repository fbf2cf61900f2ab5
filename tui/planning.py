"""The card the screens plan for: the one that trains, or one chosen by name where there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.advise import fits
from engine.choice import Choice
from engine.config.draft import Draft, choose_gpu
from engine.fit import grid
from engine.fit.cards import Card, find_card, known_cards
from engine.machine.model import Gpu, Machine

PLANNED = "card"  # in the draft's answers: the name of the card that is planned for


@dataclass(frozen=True, slots=True)
class Target:
    """A card to plan for.

    Attributes:
        name: As NVML or the table of cards has it.
        free: Bytes a program can have of it.
        card: What is known of that kind of card.
        planned: It is not in this machine.
    """

    name: str
    free: int
    card: Card | None
    planned: bool = False


@dataclass(frozen=True, slots=True)
class FitReport:
    """What the machine screen says about one target at one length.

    Attributes:
        grid: Sizes against methods.
        suggestion: The model to take.
        table_note: Why that differs from what the guides' table says; empty when it does not.
    """

    grid: grid.Grid
    suggestion: Choice[fits.Recommendation]
    table_note: str


def target_of(machine: Machine | None, draft: Draft) -> Target | None:
    """The card of this machine that would train, else the planned one; None without either."""
    gpu = choose_gpu(machine, draft.gpu) or choose_gpu(machine, None)
    if gpu is not None:
        return Target(gpu.name, gpu.memory_free, find_card(gpu.name)) if gpu.memory_free > 0 else None
    card = planned_card(draft)
    return Target(card.name, card.usable, card, planned=True) if card else None


def planned_card(draft: Draft) -> Card | None:
    """The card chosen by name, if one was."""
    name = draft.answers.get(PLANNED)
    return next((card for card in known_cards() if card.name == name), None)


def planned_machine(machine: Machine | None, draft: Draft) -> Machine | None:
    """This machine as it would be with the planned card; None when no card is planned for, or a real one is there."""
    card = planned_card(draft)
    if machine is None or card is None or machine.usable_gpus:
        return None
    gpu = Gpu(
        index=0,
        uuid="planned",
        name=card.name,
        memory_total=card.memory,
        memory_free=card.usable,
        compute_capability=card.compute_capability,
    )
    return replace(machine, gpus=(gpu,))


def report_on(target: Target, length: int) -> FitReport:
    """Everything the machine screen says about a target; some 0.3 s of work the first time."""
    table = grid.what_fits(target.free, target.card, length)
    suggestion = fits.recommend_model(target.free, target.card, length=length)
    return FitReport(
        table, suggestion, fits.compare_with_table(suggestion, target.free, target.card, length=length)
    )
