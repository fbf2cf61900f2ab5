"""An X-ray as a few pieces of text, each learnt or not: what a screen shows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from engine.data.render import XRay

Kind = Literal["masked", "learnt", "end", "cut"]
MOST_CHARACTERS = 4000  # of one piece; the middle of a longer one is left out
MOST_PIECES = 400


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring tokens of the same kind.

    Attributes:
        text: What they say. Foreign text: pass it through ``printable`` before it is shown.
        kind: ``masked`` (read, not learnt), ``learnt``, ``end`` (learnt, and it ends the turn) or ``cut`` (beyond the
            length limit).
        left_out: Characters left out after the first half of the text, because it is very long.
    """

    text: str
    kind: Kind
    left_out: int = 0


def segments(seen: XRay) -> list[Segment]:
    """The pieces of a row, in order."""
    kinds = [
        ("end" if number in seen.ends else "learnt") if trained else "masked"
        for number, (_, trained) in zip(seen.ids[: seen.kept], seen.tokens[: seen.kept], strict=True)
    ] + ["cut"] * (seen.total - seen.kept)
    made: list[Segment] = []
    pairs = zip(kinds, (text for text, _ in seen.tokens), strict=True)
    for kind, group in groupby(pairs, key=lambda pair: pair[0]):
        if len(made) >= MOST_PIECES and kind != "cut":
            continue
        made.append(_segment("".join(text for _, text in group), kind))
    return made


def _segment(text: str, kind: Kind) -> Segment:
    if len(text) <= MOST_CHARACTERS:
        return Segment(text, kind)
    half = MOST_CHARACTERS // 2
    return Segment(text[:half] + text[-half:], kind, len(text) - 2 * half)
