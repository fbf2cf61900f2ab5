"""The tours through the app on which pictures are taken; each says beforehand which."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.captures.stage import SIZES, Glyphs, Size, Stage, picture_name, stage

Play = Callable[[Stage], Awaitable[None]]
MODULES = ("wizard", "lists", "monitor", "results")


@dataclass(frozen=True, slots=True)
class Tour:
    """A way through the app.

    Attributes:
        name: Of the tour.
        screens: The pictures taken on it, with sizes beside the usual ones.
        main: Those of them that are compared at every size each time; the others at the smallest.
        play: Goes through the app and takes them.
        rare: Compared only now and then.
    """

    name: str
    screens: dict[str, tuple[Size, ...]]
    main: frozenset[str]
    play: Play
    rare: bool = False

    def names(self, glyphs: Glyphs, thorough: bool = True) -> set[str]:
        """The pictures of this tour."""
        return {
            picture_name(screen, size, glyphs)
            for screen, more in self.screens.items()
            for size in (*SIZES, *more)
            if self.wants(screen, size, glyphs, thorough)
        }

    def wants(self, screen: str, size: Size, glyphs: Glyphs, thorough: bool) -> bool:
        """Whether this picture is to be taken."""
        return thorough or size == SIZES[0] or (screen in self.main and glyphs == "unicode")


TOURS: dict[str, Tour] = {}


def tour(
    *screens: str,
    main: tuple[str, ...] = (),
    more: dict[str, tuple[Size, ...]] | None = None,
    rare: bool = False,
) -> Callable[[Play], Play]:
    """Makes a function a tour that takes these pictures."""

    def made(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        assert name not in TOURS
        sizes = {screen: (more or {}).get(screen, ()) for screen in screens}
        TOURS[name] = Tour(name, sizes, frozenset(main), play, rare)
        return play

    return made


def all_tours() -> dict[str, Tour]:
    """Every tour by its name."""
    for module in MODULES:
        importlib.import_module(f"tests.captures.{module}")
    return TOURS


async def taken(one: Tour, glyphs: Glyphs, thorough: bool = True) -> dict[str, str]:
    """Go on a tour; the text of its pictures by their names."""
    with stage(glyphs, lambda screen, size: one.wants(screen, size, glyphs, thorough)) as made:
        await one.play(made)
        return made.pictures
