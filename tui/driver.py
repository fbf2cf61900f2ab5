"""Textual's Linux driver for a slow line; it paints on standard output, so ``finetui 2>errors.txt`` shows a screen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from textual import constants, events
from textual.geometry import Size

if TYPE_CHECKING:
    from textual.app import App
    from textual.driver import Driver

    from tui.wire import Span, Wire

SETTLED = 0.3  # seconds after a change of the window's size until it is looked at once more


def driver_class() -> type[Driver] | None:
    """The driver to use; None leaves the choice to textual."""
    if constants.DRIVER or sys.platform == "win32" or not os.isatty(1):
        return None
    from textual.drivers.linux_driver import LinuxDriver

    from tui.wire import Wire

    class StdoutDriver(LinuxDriver):
        """Paints on standard output instead of standard error, sends little, and asks for less of the mouse."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            if sys.__stdout__ is not None:
                self._file = sys.__stdout__

        @property
        def wire(self) -> Wire | None:
            """What sends pictures; None while no screen is shown."""
            return self._writer_thread if isinstance(self._writer_thread, Wire) else None

        def start_application_mode(self) -> None:
            super().start_application_mode()  # type: ignore[no-untyped-call]
            if self._writer_thread is not None and self.wire is None and self._file is not None:
                self._writer_thread.stop()
                wire = Wire(self._file)
                wire.start()
                self._writer_thread = wire  # type: ignore[assignment]

        def _get_terminal_size(self) -> tuple[int, int]:
            # textual asks in the handler of the signal that comes with every change of the size; the work is done later.
            with contextlib.suppress(RuntimeError):  # not in the loop: the first time, at the start
                asyncio.get_running_loop().call_soon_threadsafe(self._after_resize)
            return super()._get_terminal_size()

        def _after_resize(self) -> None:
            """Paint again, and make sure of the size.

            A window that was made smaller and large again in one go has lost what was outside, and textual, which sees the
            same size as before, would not paint it again. And a signal that comes while the one before is handled is done
            first, so that the size before the last may be what textual believes.
            """
            if self.wire is not None:
                self.wire.repaint(super()._get_terminal_size())
                asyncio.get_running_loop().call_later(SETTLED, self._check_size)

        def _check_size(self) -> None:
            size = Size(*super()._get_terminal_size())
            if self.wire is not None and size != self._app.size:
                self._app.post_message(events.Resize(size, size))

        def _enable_mouse_support(self) -> None:
            # Clicks, drags and the wheel, but not every movement: on a slow line each would cost a round trip.
            if self._mouse:
                self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")

        def _disable_mouse_support(self) -> None:
            if self._mouse:
                self.write("\x1b[?1000l\x1b[?1002l\x1b[?1006l")

    return StdoutDriver


def paint(app: App[Any], update: object, whole: bool) -> bool:
    """Send what textual's compositor has made, as little of it as is needed.

    Args:
        app: The application.
        update: What the compositor made.
        whole: Take nothing for granted: what is on the screen may not be what was painted.

    Returns:
        Whether it is done; if not, textual must do it.
    """
    from rich.color import ColorSystem
    from textual._compositor import ChopsUpdate, LayoutUpdate

    from tui.wire import spans_of_chops

    wire: Wire | None = getattr(app._driver, "wire", None)
    if wire is None or app._batch_count or not app._running or app._closed:
        return False
    if isinstance(update, ChopsUpdate):
        spans: Iterable[Span] = spans_of_chops(update.chops, update.spans, update.chop_ends)  # type: ignore[arg-type]
    elif isinstance(update, LayoutUpdate):
        spans = _spans_of_layout(update.strips, update.region.x, update.region.y)
    else:
        if update is not None:
            wire.forget()
        return False
    if whole:
        wire.forget()
    wire.paint(
        (app.size.width, app.size.height),
        spans,
        app.console._color_system or ColorSystem.TRUECOLOR,
        app.screen.outer_size.clamp_offset(app.cursor_position),
        app._sync_available,
    )
    return True


def _spans_of_layout(rows: Iterable[Iterable[Any]], left: int, top: int) -> Iterable[Span]:
    for y, strips in enumerate(rows, top):
        x = left
        for strip in strips:
            yield y, x, x + strip.cell_length, strip
            x += strip.cell_length
