"""The cards a prediction is for: one to rent, so much memory, or those of this machine with what is free on each."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from engine.display import GIB, gib, printable
from engine.errors import UserError
from engine.fit.cards import Card, find_card, known_cards, outside_torch

DETECTED = "detected"
OTHER_WAYS = 'Name one: finetui fit --gpu "RTX 4090"   or: --vram 24GiB'


@dataclass(frozen=True, slots=True)
class Target:
    """One card that a run would use.

    Attributes:
        name: For the user.
        free: Bytes a new program can have of it.
        card: What is known of its kind; None when nothing is.
    """

    name: str
    free: int
    card: Card | None


def find_targets(gpu: str | None, vram: str | None, num_processes: int) -> list[Target]:
    """The cards of a run, one for each process.

    Args:
        gpu: A card's name, or ``detected``; None for this machine's unless ``vram`` is given.
        vram: Free memory, such as ``24GiB``.
        num_processes: Processes that train together, each on a card of its own.

    Raises:
        UserError: The card or the size is not understood, or this machine does not have as many cards.
    """
    named = None if gpu in (None, DETECTED) else gpu
    card = find_card(named) if named else None
    if named and card is None:
        names = [known.name for known in known_cards()]
        like = difflib.get_close_matches(named.lower(), [name.lower() for name in names], 3, 0.5)
        meant = [name for name in names if name.lower() in like]
        said = (
            f"Perhaps you mean {' or '.join(meant)}."
            if meant
            else "Write it like 'RTX 4090', 'A100 80GB' or T4."
        )
        raise UserError(
            f"The card {printable(named, 60)!r} is not in the table.",
            "--gpu",
            f"{said} Or say its memory: --vram 24GiB",
        )
    if vram:
        free = _size(vram)
        return [Target(card.name if card else f"a card with {gib(free)}", free, card)] * num_processes
    if card is not None:
        return [Target(card.name, card.usable, card)] * num_processes
    return _detected(num_processes)


def _size(text: str) -> int:
    found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*(GiB|GB|G|MiB|MB)?\s*", text, re.I)
    unit = {"gb": 10**9, "mib": 2**20, "mb": 10**6}.get((found[2] or "").lower() if found else "", GIB)
    if not found or not 0 < float(found[1]) * unit < 2**50:
        raise UserError(
            f"The size {printable(text, 40)!r} is not understood.",
            "--vram",
            "Write it like 24GiB or 16000MiB.",
        )
    return int(float(found[1]) * unit)


def _detected(num_processes: int) -> list[Target]:
    from engine.config.draft import choose_gpu, used_cards
    from engine.machine.probe import probe

    machine = probe()
    first = choose_gpu(machine, None)
    if first is None:
        raise UserError("This machine has no GPU to plan for.", "this machine", OTHER_WAYS)
    cards = used_cards(machine, first, num_processes)
    if len(cards) < num_processes:
        raise UserError(
            f"The run wants {num_processes} GPUs, but this machine has {len(cards)} that can be used.",
            "num_processes",
            f"Set num_processes to {len(cards)}, or name the cards you plan for: --gpu NAME.",
        )
    targets = []
    for gpu in cards:
        if gpu.memory_free <= 0:
            raise UserError(
                f"The driver does not say how much memory of {printable(gpu.name, 60)} is free.",
                gpu.label,
                "Say it: finetui fit --vram 24GiB",
            )
        card = find_card(gpu.name)
        if card is None and gpu.compute_capability is not None:
            # Not in the table: its driver says enough.
            card = Card(
                gpu.name, gpu.memory_total, gpu.memory_free, gpu.compute_capability, outside_torch(None, 1)
            )
        label = f"{gpu.label}: {gpu.name}" if len(cards) > 1 else gpu.name
        targets.append(Target(printable(label, 80), gpu.memory_free, card))
    return targets
