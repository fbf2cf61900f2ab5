"""A stage on which every picture comes out the same: fixed clock, time zone, home, machine and packages, and no network."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import string
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any, Literal

import pytest
from textual.worker import WorkerCancelled, WorkerFailed

from engine.machine import Machine
from tests.machine.builders import machine
from tests.tui.pilot import Screens
from tui.app import FinetuiApp, Start

NOW = 1_773_500_400.0  # Saturday 14 March 2026, 15:00 UTC
DAY = 86_400.0
SHOWN_HOME = "/home/you"
SIZES = ((80, 24), (120, 40), (200, 50))
COMPACT = (59, 15)

STILL = 0.03  # seconds: longer than textual waits before it lays out and paints anew

Size = tuple[int, int]
Glyphs = Literal["unicode", "ascii"]

# Of the environment that the pictures are taken in; whatever else a screen reads from it is taken away.
ENVIRONMENT = {
    "TERM": "xterm-256color",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
    "HF_HUB_OFFLINE": "1",
    "TEXTUAL_ANIMATIONS": "none",
}
TAKEN_AWAY = (
    "NO_COLOR", "COLORFGBG", "COLORTERM", "FINETUI_THEME", "TEXTUAL_THEME", "TEXTUAL_COLOR_SYSTEM", "LC_ALL",
    "TMUX", "STY", "SSH_CONNECTION", "SSH_TTY", "HF_TOKEN", "XDG_DATA_HOME", "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
# Waiting for a person who types, and drawing only now and then, would make pictures depend on the machine's speed.
AT_ONCE = {
    "tui.screens.monitor.POLL": 0.02,
    "tui.screens.monitor.DRAW_EVERY": 0.0,
    "tui.screens.monitor.MORE_EVERY": 0.0,
    "tui.screens.monitor.NOTICE_FOR": 3600.0,
    "tui.screens.hub_search.PAUSE": 0.01,
    "tui.screens.model.PAUSE": 0.01,
    "tui.screens.home.FIRST_LOOK": 60.0,
    "tui.screens.home.REFRESH_EVERY": 3600.0,
    "tui.screens.method.PAUSE": 0.01,
    "tui.screens.curves.DRAW_EVERY": 0.0,
}


class Stage:
    """One tour through the screens, and the pictures taken on it.

    Attributes:
        glyphs: What is drawn with.
        machine: The machine that finetui finds; a tour may put another one here.
        root: The home folder, shown as `SHOWN_HOME`, which is exactly as long.
        pictures: Text of each picture by its name, such as ``goal-80x24-ascii``.
    """

    def __init__(
        self,
        root: Path,
        glyphs: Glyphs,
        patch: pytest.MonkeyPatch,
        wanted: Callable[[str, Size], bool] = lambda name, size: True,
    ) -> None:
        self.root, self.glyphs, self.patch = root, glyphs, patch
        self.machine: Machine = machine()
        self.now = NOW
        self.pictures: dict[str, str] = {}
        self._wanted = wanted

    @property
    def work(self) -> Path:
        """The folder in which finetui was started."""
        return self.root / "data"

    def write(self, path: str, text: str) -> Path:
        """A file of the user, below the folder of work."""
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    @asynccontextmanager
    async def app(self, start: Start = "home", run_name: str | None = None) -> AsyncIterator[Screens]:
        """The app on its first screen, at the first of the sizes."""
        for path in self.root.rglob("*"):
            if not path.is_symlink():
                os.utime(path, (NOW - 3 * DAY, NOW - 3 * DAY))
        app = FinetuiApp(start, run_name)
        async with app.run_test(size=SIZES[0]) as pilot:
            screens = Patient(app, pilot)
            await steady(screens)
            yield screens

    async def take(
        self, screens: Screens, name: str, *more: Size, busy: bool = False, wait_for: str = ""
    ) -> None:
        """Take a picture of the screen as it is now, at every size.

        Args:
            screens: The app.
            name: Of the picture.
            more: Sizes beside the usual ones.
            busy: Something works in the background and goes on doing so.
            wait_for: Words that must be on the screen.
        """
        resized = False
        for size in (*SIZES, *more):
            if not self._wanted(name, size):
                continue
            if size != SIZES[0] or resized:
                await screens.pilot.resize_terminal(*size)
                resized = True
            await steady(screens, busy, wait_for)
            self.pictures[picture_name(name, size, self.glyphs)] = self._masked(screens.lines)
        if resized:
            await screens.pilot.resize_terminal(*SIZES[0])
            await steady(screens, busy)

    def _masked(self, lines: list[str]) -> str:
        """The rows without what differs between machines: the folder, which may be broken at the end of a row."""
        between = r"([^\w/]*\n[^\w/]*)?"
        broken = between.join(map(re.escape, str(self.root)))

        def named(found: re.Match[str]) -> str:
            breaks = [*found.groups(""), ""]
            return "".join(char + gap for char, gap in zip(SHOWN_HOME, breaks, strict=True))

        return re.sub(broken, named, "\n".join(lines)).rstrip("\n") + "\n"


def picture_name(name: str, size: Size, glyphs: Glyphs) -> str:
    """The name of a picture's file, without its ending."""
    return f"{name}-{size[0]}x{size[1]}-{glyphs}"


class Patient(Screens):
    """A person who does not mind that work in the background is given up for newer work."""

    async def settle(self) -> None:
        """Wait until nothing works in the background."""
        for _ in range(3):
            await self.pilot.pause(0.002)
            with contextlib.suppress(WorkerCancelled, WorkerFailed):
                await self.app.workers.wait_for_complete()


async def steady(screens: Screens, busy: bool = False, wait_for: str = "") -> None:
    """Wait until nothing works in the background, unless it is `busy` for long, and the picture stands still."""
    before: list[str] | None = None
    same = 0
    for _ in range(400):
        if not busy:
            await screens.settle()
        await screens.pilot.pause(STILL)
        lines = screens.lines
        same = same + 1 if lines == before and wait_for in screens.one_line else 0
        if same >= 2:
            return
        before = lines
    raise AssertionError(f"The screen does not come to rest:\n{screens.text}")


async def shown(screens: Screens, *wanted: str) -> None:
    """Wait until words are on the screen."""
    until = time.monotonic() + 20
    while not all(words in screens.one_line for words in wanted):
        if time.monotonic() > until:
            raise AssertionError(f"{wanted!r} did not appear:\n{screens.text}")
        await screens.settle()
        await screens.pilot.pause(0.02)


@contextmanager
def stage(glyphs: Glyphs, wanted: Callable[[str, Size], bool] = lambda name, size: True) -> Iterator[Stage]:
    """Set the stage, and clear it away afterwards."""
    root = _folder()
    with pytest.MonkeyPatch.context() as patch:
        try:
            yield _set(Stage(root, glyphs, patch, wanted))
        finally:
            shutil.rmtree(root, ignore_errors=True)
    time.tzset()


async def _do_not_wait(*args: float) -> None:
    """Instead of waiting until the process is idle, which takes long on a busy machine: `steady` looks at the picture."""
    await asyncio.sleep(0.002)


def _set(made: Stage) -> Stage:
    patch, root = made.patch, made.root
    for name in TAKEN_AWAY:
        patch.delenv(name, raising=False)
    own = {
        "HOME": str(root),
        "FINETUI_HOME": str(root / ".finetui"),
        "HF_HOME": str(root / ".hf"),
        "FINETUI_CHARSET": "braille" if made.glyphs == "unicode" else "ascii",
    }
    for name, value in (ENVIRONMENT | own).items():
        patch.setenv(name, value)
    time.tzset()
    patch.setattr(time, "time", lambda: made.now)
    made.work.mkdir()
    patch.chdir(made.work)
    for where, seconds in AT_ONCE.items():
        patch.setattr(where, seconds)
    for where in ("textual.app", "textual.pilot"):
        patch.setattr(f"{where}.wait_for_idle", _do_not_wait)
    patch.setattr(sys.modules["engine.machine.probe"], "probe", lambda *args, **options: made.machine)
    patch.setattr("engine.run.launch.require_training_packages", lambda: None)
    return made


def _folder() -> Path:
    """A new folder whose path is exactly as long as the one that is shown, so that nothing moves."""
    signs = string.ascii_lowercase + string.digits
    length = len(SHOWN_HOME) - len("/tmp/")
    while True:
        folder = Path("/tmp") / "".join(SystemRandom().choices(signs, k=length))
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder


def the(screens: Screens) -> Any:
    """The screen in front."""
    return screens.app.screen
