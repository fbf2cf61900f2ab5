"""Known cards: how much memory they have, and what a CUDA program takes of it before the first tensor."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import presets

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Card:
    """One kind of GPU.

    Attributes:
        name: As people and NVML write it.
        memory: All of it.
        usable: What programs can have of it: without what the driver keeps.
        compute_capability: Such as (8, 9).
        context: What a process with torch and its libraries takes before the first tensor.
    """

    name: str
    memory: int
    usable: int
    compute_capability: tuple[int, int]
    context: int


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(presets.__path__[0], "cards.json").read_text("utf-8"))
    return data


def outside_torch(card: Card | None, num_gpus: int) -> int:
    """Bytes that ``nvidia-smi`` shows and torch does not count: the CUDA context, loaded kernels, communication."""
    data = _data()
    context = (
        card.context if card is not None else (max(data["context_mib"].values()) + data["kernels_mib"]) * MIB
    )
    if num_gpus < 2:
        return context
    return int(context + data["nccl_mib"]["2" if num_gpus == 2 else "more"] * MIB)


@cache
def known_cards() -> tuple[Card, ...]:
    """Every card of ``presets/cards.json``."""
    data = _data()
    cards = []
    for entry in data["cards"]:
        major, minor = entry["compute_capability"]
        context = (data["context_mib"][str(major * 10 + minor)] + data["kernels_mib"]) * MIB
        memory = entry["memory_mib"] * MIB
        usable = entry.get("usable_mib", entry["memory_mib"] - data["driver_mib"]) * MIB
        cards.append(Card(entry["name"], memory, usable, (major, minor), context))
    return tuple(cards)


def find_card(text: str) -> Card | None:
    """The card that a name means, such as ``NVIDIA GeForce RTX 4090`` or ``a100 80gb``; ``None`` when unknown.

    Of cards with the same name the smallest is meant, unless the size is said.
    """
    low = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
    low = re.sub(r"\b(rtx|gtx|tesla|quadro|nvidia|geforce)(?=[a-z]?\d)", r"\1 ", low)  # rtx4090, rtxa6000
    low = re.sub(r"(?<=\d)(?=(?:ti|super|laptop|mobile)\b)", " ", low)  # 4070ti
    sizes = [int(size) for size in re.findall(r"(?:^| )(\d+) ?gi?b\b", low)]
    wanted = _words(low)
    best: tuple[int, Card] | None = None
    for card in known_cards():
        words = _words(card.name.lower())
        if not words <= wanted or (_LAPTOP & wanted and not _LAPTOP & words):
            continue
        gibibytes = card.memory / (1 << 30)
        if sizes and not any(0.88 * size <= gibibytes <= 1.03 * size for size in sizes):
            continue
        if best is None or (len(words), -card.memory) > (best[0], -best[1].memory):
            best = (len(words), card)
    return best[1] if best else None


_LAPTOP = {"laptop", "mobile"}
_MAKERS = {"nvidia", "geforce", "tesla", "rtx", "gtx"}


def _words(name: str) -> set[str]:
    """What tells one card from another: without the maker's words and without a size."""
    return {word for word in re.findall(r"[a-z0-9]+", name) if not re.fullmatch(r"\d+gi?b", word)} - _MAKERS
