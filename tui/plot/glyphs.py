"""The characters a chart is drawn with, from finest to plainest: braille, half blocks, ASCII."""

from __future__ import annotations

import locale
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Charset = Literal["braille", "block", "ascii"]


def charset(environ: Mapping[str, str] | None = None, encoding: str | None = None) -> Charset:
    """The finest characters this terminal can be trusted with.

    Args:
        environ: Environment to look at, by default this process's; ``FINETUI_CHARSET`` may name the charset.
        encoding: Text encoding of the terminal, by default the locale's.
    """
    env = os.environ if environ is None else environ
    wanted = env.get("FINETUI_CHARSET", "").strip().lower()
    for name in get_args(Charset):
        if wanted == name:
            return name  # type: ignore[no-any-return]
    term = env.get("TERM", "")
    spelling = (locale.getencoding() if encoding is None else encoding).lower().replace("-", "")
    if term == "dumb" or spelling != "utf8":
        return "ascii"
    # The Linux console's font has blocks but no braille.
    return "block" if term == "linux" else "braille"


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One rung of the ladder.

    Attributes:
        bits: Bit of each dot in a cell, ``bits[column][row]``; their number is the resolution.
        masks: Bits of neighbouring dots, ``masks[column][first row][last row]``.
        line: Character for each combination of dots.
        band: The dots of a cell that may be set for the range around a curve, so that the curve stands out.
        bar: Character of a cell that holds only such a range, where dots are too coarse to show one.
        points: Characters of evaluation points, one per series.
        limit: Character of a horizontal line.
        rule: Character of a vertical line.
        marks: Characters of marks by their kind.
        key: Sample of a curve for the legend.
        key_dotted: The same for a dotted curve.
    """

    bits: tuple[tuple[int, ...], ...]
    masks: tuple[tuple[tuple[int, ...], ...], ...] = field(init=False)
    line: str
    band: int
    bar: str
    points: str
    limit: str
    rule: str
    marks: Mapping[str, str]
    key: str
    key_dotted: str

    def __post_init__(self) -> None:
        masks = tuple(
            tuple(tuple(sum(column[a : b + 1]) for b in range(len(column))) for a in range(len(column)))
            for column in self.bits
        )
        object.__setattr__(self, "masks", masks)


GLYPHS: Mapping[Charset, Glyphs] = {
    "braille": Glyphs(
        bits=((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80)),
        line="".join(map(chr, range(0x2800, 0x2900))),
        band=0x95,
        bar="",
        points="●○■□",
        limit="─",
        rule="┊",
        marks={"best": "★", "checkpoint": "▲", "change": "!", "cursor": "┊", "bad": "✗"},
        key="──",
        key_dotted="╌╌",
    ),
    "block": Glyphs(
        bits=((0x01, 0x02),),
        line=" ▀▄█",
        band=3,
        bar="│",
        points="•○■□",
        limit="─",
        rule="·",
        marks={"best": "♦", "checkpoint": "▲", "change": "!", "cursor": "·", "bad": "x"},
        key="▄▄",
        key_dotted="▄ ▄",
    ),
    "ascii": Glyphs(
        bits=((0x01, 0x02, 0x04),),
        line=" '-'.:.|",
        band=7,
        bar=":",
        points="o@#+",
        limit="-",
        rule=":",
        marks={"best": "*", "checkpoint": "^", "change": "!", "cursor": ":", "bad": "x"},
        key="--",
        key_dotted="- -",
    ),
}


def single_width(text: str, charset: Charset) -> str:
    """Text in which every character takes one cell: wider ones become ``?``, those without width vanish."""
    out: list[str] = []
    for char in text:
        category = unicodedata.category(char)
        if category[0] in "MC":
            continue
        code = ord(char)
        plain = (
            (category[0] in "LNPS" or char == " ")
            and unicodedata.east_asian_width(char) not in "WF"
            and unicodedata.bidirectional(char) not in ("R", "AL")
            and not 0x1160 <= code < 0x1200
            and code < (0x80 if charset == "ascii" else 0x1F000)
        )
        out.append(char if plain else "?")
    return "".join(out)
