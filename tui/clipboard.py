"""Copying over a bad line: to the terminal's clipboard if it listens, and always into a file, which never fails silently."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.run import atomic
from engine.run.home import ensure_private, finetui_home

if TYPE_CHECKING:
    from textual.app import App

FILE = "copied.txt"
MOST = 8192  # bytes; terminals cut longer sequences, some print what is left


def copy(app: App[Any], text: str) -> Path:
    """Copy a text; returns the file that holds it.

    Raises:
        UserError: The folder of finetui cannot be written.
        OSError: The file cannot.
    """
    if app._driver is not None:
        for sequence in sequences(text, os.environ):
            app._driver.write(sequence)
    ensure_private(finetui_home())
    path = finetui_home() / FILE
    atomic.write_text(path, text + "\n")
    return path


def sequences(text: str, environ: Mapping[str, str]) -> list[str]:
    """OSC 52 as the terminal needs it: inside tmux and screen also wrapped, so that the outer terminal hears it."""
    data = text.encode()
    if len(data) > MOST:
        return []
    plain = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    if environ.get("TMUX"):
        wrapped = plain.replace("\x1b", "\x1b\x1b")
        return [plain, f"\x1bPtmux;{wrapped}\x1b\\"]
    if environ.get("STY"):
        # GNU screen takes at most 768 bytes in one piece.
        return [f"\x1bP{plain[at : at + 512]}\x1b\\" for at in range(0, len(plain), 512)]
    return [plain]
