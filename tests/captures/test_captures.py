"""What every screen looks like, compared with the kept pictures."""

from __future__ import annotations

import re

import pytest

from tests.captures.golden import GOLDEN, difference
from tests.captures.stage import Glyphs
from tests.captures.tours import all_tours, taken
from tui.plain_glyphs import PlainGlyphs

TOURS = all_tours()
GLYPHS: tuple[Glyphs, ...] = ("unicode", "ascii")


# Drawn with other characters in ASCII, not with the same ones replaced: curves, and the parts of the memory bar.
DRAWN = re.compile("[\u2801-\u28ff▓▒╱╳╌]|[╭│] *(loss|no values)")


async def compare(name: str, glyphs: Glyphs, thorough: bool) -> None:
    one = TOURS[name]
    pictures = await taken(one, glyphs, thorough)
    assert pictures.keys() == one.names(glyphs, thorough)
    if glyphs == "unicode":
        pictures |= {
            picture.replace("unicode", "ascii"): in_ascii(text)
            for picture, text in pictures.items()
            if not DRAWN.search(text)
        }
    found = "\n".join(filter(None, (difference(picture, text) for picture, text in pictures.items())))
    assert not found, f"\n{found}\nIf that is as it should be: python -m tests.captures --write {name}"


def in_ascii(text: str) -> str:
    """What the filter over everything that is painted makes of a picture."""
    return PlainGlyphs("ascii").plain(text)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough) if TOURS[name].rare else name for name in TOURS]
)
async def test_the_screens_look_as_kept(name: str) -> None:
    await compare(name, "unicode", thorough=False)


@pytest.mark.parametrize("name", ["monitor-odd"])
async def test_curves_in_ascii_look_as_kept(name: str) -> None:
    await compare(name, "ascii", thorough=False)


@pytest.mark.thorough
@pytest.mark.parametrize("glyphs", GLYPHS)
@pytest.mark.parametrize("name", TOURS)
async def test_every_screen_looks_as_kept_at_every_size(name: str, glyphs: Glyphs) -> None:
    await compare(name, glyphs, thorough=True)


def test_every_kept_picture_is_compared_and_fits_its_size() -> None:
    promised = {name for one in TOURS.values() for glyphs in GLYPHS for name in one.names(glyphs)}
    kept = {file.stem: file.read_text(encoding="utf-8") for file in GOLDEN.glob("*.txt")}
    assert kept.keys() == promised
    for name, text in kept.items():
        width, height = map(int, name.rsplit("-", 2)[1].split("x"))
        lines = text.split("\n")[:-1]
        assert len(lines) <= height, name
        assert not name.endswith("ascii") or text.isascii(), name
        assert all(len(line) <= width and line == line.rstrip() for line in lines), name
