"""What is set before textual is imported, and the colours that are chosen."""

from __future__ import annotations

import itertools
import re

import pytest

from tui.environment import QUIET, colour_depth, is_light, prepare_environment
from tui.themes import DARK, LIGHT, SIXTEEN, choose_theme


def test_what_the_user_set_wins() -> None:
    env = {"TEXTUAL_FPS": "30"}
    prepare_environment(env)
    assert env == {**QUIET, "TEXTUAL_FPS": "30"}


def test_gnu_screen_which_holds_back_esc_while_the_mouse_is_listened_to() -> None:
    for env, mouse in (
        ({"TERM": "screen-256color", "STY": "1.pts"}, "1"),
        ({"TERM": "screen"}, "1"),  # over ssh only TERM is handed on
        ({"TERM": "screen-256color", "TMUX": "/tmp/socket"}, None),
        ({"TERM": "screen", "FINETUI_NO_MOUSE": "0"}, "0"),
        ({"TERM": "xterm-256color"}, None),
    ):
        prepare_environment(env)
        assert env.get("FINETUI_NO_MOUSE") == mouse


@pytest.mark.parametrize(
    ("env", "depth"),
    [
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "screen"}, "16"),
        ({"TERM": "linux"}, "16"),
        ({}, "16"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "none"),
        ({"TERM": "xterm", "TEXTUAL_COLOR_SYSTEM": "256"}, "256"),
        ({"TERM": "xterm-256color", "TEXTUAL_COLOR_SYSTEM": "standard"}, "16"),
    ],
)
def test_colour_depth(env: dict[str, str], depth: str) -> None:
    assert colour_depth(env) == depth


def test_theme_follows_the_terminal() -> None:
    assert choose_theme({"TERM": "xterm-256color"}) == DARK.name
    assert choose_theme({"TERM": "xterm-256color", "COLORFGBG": "0;15"}) == LIGHT.name
    assert choose_theme({"TERM": "xterm-256color", "COLORFGBG": "0;15", "FINETUI_THEME": "dark"}) == DARK.name
    assert choose_theme({"TERM": "screen"}) == SIXTEEN.name
    assert choose_theme({"TERM": "xterm-256color", "NO_COLOR": "1"}) == SIXTEEN.name
    assert choose_theme({"TERM": "screen", "TEXTUAL_THEME": "nord,gruvbox"}) == "nord"
    assert not is_light({"COLORFGBG": "15;0"})


def test_every_colour_is_in_the_256_colour_palette() -> None:
    cube = (0, 95, 135, 175, 215, 255)
    palette = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in itertools.product(cube, repeat=3)}
    palette |= {f"#{level:02x}{level:02x}{level:02x}" for level in range(8, 239, 10)}
    for theme in (DARK, LIGHT):
        colours = [
            *(
                theme.primary,
                theme.success,
                theme.warning,
                theme.error,
                theme.foreground,
                theme.background,
                theme.panel,
            ),
            *(value for value in theme.variables.values() if value.startswith("#")),
        ]
        assert {colour for colour in colours if colour} <= palette, theme.name


def test_words_are_readable_on_their_background() -> None:
    def luminance(colour: str) -> float:
        parts = [int(part, 16) / 255 for part in re.findall("..", colour[1:])]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, other: str) -> float:
        light, dark = sorted((luminance(one), luminance(other)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for theme in (DARK, LIGHT):
        assert theme.background
        assert theme.panel
        for colour in (
            theme.foreground,
            theme.primary,
            theme.success,
            theme.warning,
            theme.error,
            theme.variables["muted"],
        ):
            assert colour
            assert contrast(colour, theme.background) >= 4.5, (theme.name, colour)
        assert contrast(theme.variables["cursor-text"], theme.variables["cursor"]) >= 4.5
        assert contrast(theme.foreground or "", theme.panel) >= 4.5
