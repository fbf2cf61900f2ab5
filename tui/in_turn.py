"""Keys and clicks one at a time: each is acted upon in full before the next one is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from textual import events
from textual.app import App
from textual.errors import NoWidget
from textual.message import Message
from textual.widget import Widget

LOOK = 0.02  # seconds between looks whether what is waited for is still there
LOOKS = 100  # after so many the next key is no longer held up by whatever hangs
ROUNDS = 8
GOING = 0.3  # seconds that a screen on its way to the next one may hold up a key; after that it stays a key for this one


class Passed(Message):
    """Goes from a widget up to the app, as a key does; when it arrives, all that came before it has been acted upon."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()


class InTurn(App[None]):
    """An app in which somebody may type ahead of the screens.

    textual puts a key into the queue of the widget that has the focus at that moment, and what the key sets off (a list
    says that a line was chosen, a dialog calls back) into further queues. So the second of two quick keys would reach a
    screen that the first one is about to leave, or come before what the first one asked for: an answer would be lost, or
    given twice, or to another question.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting: deque[events.Event] = deque()
        self._in_turn: events.Event | None = None
        self._turns: asyncio.Task[None] | None = None

    async def on_event(self, event: events.Event) -> None:
        typed = isinstance(event, events.InputEvent | events.Paste) and not event.is_forwarded
        if not typed or event is self._in_turn:
            await super().on_event(event)
            return
        self._waiting.append(event)
        if self._turns is None or self._turns.done():
            self._turns = asyncio.create_task(self._take_turns())

    def on_passed(self, passed: Passed) -> None:
        passed.arrived.set()

    async def _take_turns(self) -> None:
        while self._waiting and self.is_running:
            self._in_turn = event = self._waiting.popleft()
            self.post_message(event)
            await self._pass(self)
            await self._settled(event)
            if await self._waited():
                await self._settled(event)

    async def _waited(self) -> bool:
        """Wait a moment for a screen that says it is `going`."""
        until = time.monotonic() + GOING
        waited = False
        while getattr(self.screen, "going", False) and time.monotonic() < until:
            waited = True
            await asyncio.sleep(LOOK)
        return waited

    async def _settled(self, event: events.Event) -> None:
        """Wait until all that an event set off is done: the key, what a widget says then, and what a screen makes of it."""
        at = None
        for _ in range(ROUNDS):
            target = self.focused or self.screen
            if at is None and isinstance(event, events.MouseEvent):
                with contextlib.suppress(NoWidget):
                    target = self.get_widget_at(event.x, event.y)[0]
            await self._pass(target)
            before, at = at, (self.screen, self.focused)
            if at == before:
                return

    async def _pass(self, target: Widget | App[None]) -> None:
        passed = Passed()
        if not target.post_message(passed):
            return
        for _ in range(LOOKS):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(passed.arrived.wait(), LOOK)
                return
            if not (self.is_running and target.is_attached):
                return
