"""Textual's Linux driver, painting on standard output, so that ``finetui 2>errors.txt`` still shows a screen."""

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
        """Paints on standard output instead of standard error."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            if sys.__stdout__ is not None:
                self._file = sys.__stdout__

    return StdoutDriver
