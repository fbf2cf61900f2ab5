"""Colours: two themes whose every colour exists in the 256-colour palette, and one that uses the terminal's own 16."""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

from tui.environment import colour_depth, is_light

# A style sheet may use: $background $surface $panel $foreground $muted $primary $success $warning $error, the cursor
# bar ($cursor, $cursor-text), and nothing that is computed from them: mixed colours are not in the palette.


def _theme(name: str, dark: bool, colours: dict[str, str]) -> Theme:
    """A theme in which the widgets of textual use the same few colours."""
    c = colours
    return Theme(
        name=name,
        dark=dark,
        ansi=name == "finetui-16",
        primary=c["primary"],
        secondary=c["primary"],
        accent=c["primary"],
        success=c["success"],
        warning=c["warning"],
        error=c["error"],
        foreground=c["foreground"],
        background=c["background"],
        surface=c["background"],
        panel=c["panel"],
        boost=c["panel"],
        text_alpha=1.0,
        variables={
            "ansi-background": c["background"],
            "ansi-foreground": c["foreground"],
            "muted": c["muted"],
            "cursor": c["cursor"],
            "cursor-text": c["cursor-text"],
            "block-cursor-background": c["cursor"],
            "block-cursor-foreground": c["cursor-text"],
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-background": c["panel"],
            "block-cursor-blurred-foreground": c["foreground"],
            "block-cursor-blurred-text-style": "none",
            "block-hover-background": c["panel"],
            "border": c["primary"],
            "border-blurred": c["muted"],
            "input-cursor-background": c["foreground"],
            "input-cursor-foreground": c["background"],
            "input-cursor-text-style": "none",
            "input-selection-background": c["cursor"],
            "input-selection-foreground": c["cursor-text"],
            "text-disabled": c["muted"],
            "text-muted": c["muted"],
            "scrollbar": c["muted"],
            "scrollbar-hover": c["foreground"],
            "scrollbar-active": c["primary"],
            "scrollbar-background": c["background"],
            "scrollbar-background-hover": c["background"],
            "scrollbar-background-active": c["background"],
            "scrollbar-corner-color": c["background"],
        },
    )


DARK = _theme(
    "finetui-dark",
    True,
    {
        "background": "#121212",
        "panel": "#303030",
        "foreground": "#d0d0d0",
        "muted": "#8a8a8a",
        "primary": "#5fafff",
        "success": "#87d75f",
        "warning": "#ffaf5f",
        "error": "#ff5f5f",
        "cursor": "#005f87",
        "cursor-text": "#ffffff",
    },
)
LIGHT = _theme(
    "finetui-light",
    False,
    {
        "background": "#ffffff",
        "panel": "#e4e4e4",
        "foreground": "#262626",
        "muted": "#6c6c6c",
        "primary": "#005faf",
        "success": "#005f00",
        "warning": "#875f00",
        "error": "#af0000",
        "cursor": "#005faf",
        "cursor-text": "#ffffff",
    },
)
# On 16 colours the terminal's own foreground and background are the only ones known to be readable.
SIXTEEN = _theme(
    "finetui-16",
    True,
    {
        "background": "ansi_default",
        "panel": "ansi_default",
        "foreground": "ansi_default",
        "muted": "ansi_default",
        "primary": "ansi_cyan",
        "success": "ansi_green",
        "warning": "ansi_yellow",
        "error": "ansi_red",
        "cursor": "ansi_blue",
        "cursor-text": "ansi_bright_white",
    },
)
THEMES = (DARK, LIGHT, SIXTEEN)


def choose_theme(environ: Mapping[str, str]) -> str:
    """The theme that suits this terminal; ``TEXTUAL_THEME`` decides if it is set."""
    if environ.get("TEXTUAL_THEME"):
        return environ["TEXTUAL_THEME"].split(",")[0]
    if colour_depth(environ) in ("none", "16"):
        return SIXTEEN.name
    return LIGHT.name if is_light(environ) else DARK.name
