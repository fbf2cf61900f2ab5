"""Settings that textual reads once, while it is imported: they must be in the environment before that."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Literal

# Made for a slow line: fewer frames, nothing that moves by itself.
QUIET = {"TEXTUAL_FPS": "15", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}

ColourDepth = Literal["none", "16", "256", "truecolor"]


def prepare_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what the user has not set already."""
    for key, value in QUIET.items():
        environ.setdefault(key, value)
    if may_be_gnu_screen(environ):
        environ.setdefault("FINETUI_NO_MOUSE", "1")


def may_be_gnu_screen(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether GNU screen may stand between, which holds back a lone Esc for as long as a program listens to the mouse."""
    return not environ.get("TMUX") and ("STY" in environ or environ.get("TERM", "").startswith("screen"))


def colour_depth(environ: Mapping[str, str] = os.environ) -> ColourDepth:
    """How many colours the terminal has, read as textual (rich) reads it."""
    if "NO_COLOR" in environ:
        return "none"
    forced = environ.get("TEXTUAL_COLOR_SYSTEM", "auto").lower()
    if forced != "auto":
        return {"truecolor": "truecolor", "256": "256"}.get(forced, "16")  # type: ignore[return-value]
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    term = environ.get("TERM", "").strip().lower()
    return "256" if term.rpartition("-")[2] in ("256color", "kitty") else "16"


def is_light(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal has a light background, where it says so."""
    wanted = environ.get("FINETUI_THEME", "").strip().lower()
    if wanted in ("dark", "light"):
        return wanted == "light"
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    return background in ("7", "15")
