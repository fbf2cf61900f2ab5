"""How the rows of a terminal are divided: fixed for a size, whatever happens in the run."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST = (60, 16)  # below this, text alone says more than charts
WIDE = 100
HIGH = 34


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Heights in rows.

    Attributes:
        compact: Text only.
        memory: Memory has a chart of its own beside the loss.
        charts: The upper charts.
        more_charts: Learning rate, gradient norm and speed; 0 when there is no room.
        words: The state in words and the newest events.
        gap: Blank rows above the bottom lines.
    """

    compact: bool
    memory: bool
    charts: int
    more_charts: int
    words: int
    gap: int


def arrange(width: int, height: int) -> Arrangement:
    """Divide a terminal of this size."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return Arrangement(True, False, 0, 0, 0, 0)
    rest = height - 6  # head 3, cards 1, how to come back 1, keys 1
    gap = 1 if height >= 24 else 0
    words = 2 + min(11, max(0, (height - 15) // 3))
    rest -= gap + words
    more = rest * 2 // 5 if width >= WIDE and height >= HIGH else 0
    return Arrangement(False, width >= 72, rest - more, more, words, gap)
