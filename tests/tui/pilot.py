"""Driving the app in tests: keys, waiting, and the picture as text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from textual.pilot import Pilot

from engine.config.draft import DEMO_DATA, Draft
from engine.data.dataset import load_rows
from engine.run.home import finetui_home
from tui.app import FinetuiApp, Start


@asynccontextmanager
async def running(
    width: int = 80, height: int = 24, start: Start = "home", run_name: str | None = None, **options: Any
) -> AsyncIterator[Screens]:
    """The app on its first screen."""
    app = FinetuiApp(start, run_name, options)
    async with app.run_test(size=(width, height)) as pilot:
        screens = Screens(app, pilot)
        await screens.settle()
        yield screens


class Screens:
    """A person in front of the app."""

    def __init__(self, app: FinetuiApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def settle(self) -> None:
        """Wait until nothing works in the background and the picture is drawn."""
        for _ in range(3):
            await self.pilot.pause()
            if not self.app.workers:
                return
            await self.app.workers.wait_for_complete()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so; three seconds at most."""
        for _ in range(150):
            await self.pilot.pause(0.02)
            if condition():
                return
        raise AssertionError(f"{what} did not come:\n{self.text}")

    async def shows(self, wanted: str) -> None:
        """Wait until a text stands on the screen, wherever its lines break."""
        await self.until(lambda: wanted in self.one_line, wanted)

    async def press(self, *keys: str) -> None:
        """Press keys, waiting after each for what it sets off."""
        for key in keys:
            await self.pilot.press(key)
            await self.settle()

    async def type(self, text: str) -> None:
        """Type a text."""
        await self.pilot.press(*text)
        await self.settle()

    @property
    def lines(self) -> list[str]:
        """The rows of the picture."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def one_line(self) -> str:
        """The picture without line breaks, for sentences that wrap."""
        return " ".join(self.text.split())

    @property
    def at(self) -> str:
        """The page of the wizard, or the class of another screen."""
        return getattr(self.app.screen, "STEP", "") or type(self.app.screen).__name__


def demo_rows() -> list[dict[str, Any]]:
    """The rows of the embedded dataset."""
    return load_rows(DEMO_DATA).rows


def write_draft(draft: Draft) -> None:
    """Leave a draft, as an earlier session would."""
    finetui_home().mkdir(parents=True, exist_ok=True)
    (finetui_home() / "draft.json").write_text(json.dumps(asdict(draft)))
