"""How the rows of a terminal are divided: fixed for a size and a number of cards, whatever happens in the run."""

from __future__ import annotations

from dataclasses import dataclass

from tui.monitor.cards import CELL

SMALLEST = (60, 16)  # below this, text alone says more than charts
WIDE = 100
HIGH = 34
WIDEST = 160
HIGHEST = 44


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Heights in rows.

    Attributes:
        compact: Text only.
        memory: Memory has a chart of its own beside the loss.
        charts: The upper charts.
        more_charts: The lower charts; 0 when there is no room.
        busy: How busy the GPU is has a chart among them.
        cards: The state of the cards.
        words: The state in words and the newest events.
        samples: The newest answers stand beside the words.
        gap: Blank rows above the bottom lines.
        body: Everything between the head and the bottom lines, for a panel that fills it.
    """

    compact: bool
    memory: bool = False
    charts: int = 0
    more_charts: int = 0
    busy: bool = False
    cards: int = 0
    words: int = 0
    samples: bool = False
    gap: int = 0
    body: int = 0


def arrange(width: int, height: int, num_cards: int = 1) -> Arrangement:
    """Divide a terminal of this size.

    Args:
        width: Columns.
        height: Rows.
        num_cards: Cards that each want a row, where there is room for it.
    """
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return Arrangement(True)
    gap = 1 if height >= 24 else 0
    body = height - 5 - gap  # head 3, how to come back 1, keys 1
    needed = -(-num_cards // max(1, (width - 2) // CELL))
    cards = needed if 1 <= needed <= (height - 16) // 6 else 1
    words = 2 + min(11, max(0, (height - 15) // 3))
    rest = body - cards - words
    more = rest * 2 // 5 if width >= WIDE and height >= HIGH else 0
    return Arrangement(
        compact=False,
        memory=width >= 72,
        charts=rest - more,
        more_charts=more,
        busy=width >= WIDEST,
        cards=cards,
        words=words,
        samples=width >= WIDEST and height >= HIGHEST,
        gap=gap,
        body=body,
    )


def panel_text(panel: str, body: int, num_charts: int) -> int:
    """Rows of text under the charts of a panel that fills the screen."""
    if not num_charts:
        return body
    wanted = {"loss": 4, "rate": 2, "speed": 5, "gpu": max(2, body // 4)}.get(panel, body // 2)
    return min(wanted, body // 2)
