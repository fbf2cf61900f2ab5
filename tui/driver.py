"""Textual's Linux driver for a slow line; it paints on standard output, so ``finetui 2>errors.txt`` shows a screen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from textual import constants

if TYPE_CHECKING:
    from textual.driver import Driver


def driver_class() -> type[Driver] | None:
    """The driver to use; None leaves the choice to textual."""
    if constants.DRIVER or sys.platform == "win32" or not os.isatty(1):
        return None
    from textual.drivers.linux_driver import LinuxDriver

    class StdoutDriver(LinuxDriver):
        """Paints on standard output instead of standard error, and asks for less of the mouse."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            if sys.__stdout__ is not None:
                self._file = sys.__stdout__

        def _enable_mouse_support(self) -> None:
            # Clicks, drags and the wheel, but not every movement: on a slow line each would cost a round trip.
            if self._mouse:
                self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")

        def _disable_mouse_support(self) -> None:
            if self._mouse:
                self.write("\x1b[?1000l\x1b[?1002l\x1b[?1006l")

    return StdoutDriver
