"""One training example on a screen: who says what."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from engine.display import printable
from tui.text import hanging

STYLES = {
    "assistant": "$success", "chosen": "$success", "good": "$success", "answer": "$success", "user": "$primary",
    "system": "$warning", "rejected": "$error", "bad": "$error",
}  # fmt: skip


def example_lines(
    spoken: Sequence[tuple[str, str]], width: int, letters: int, turns: int = 1000, indent: str = ""
) -> list[Content]:
    """The turns of an example, each with its speaker.

    Args:
        spoken: Who says what; foreign text.
        width: Cells in a line.
        letters: Characters of a turn that are shown.
        turns: Turns that are shown.
        indent: Put before each line.
    """
    lines = [
        hanging(
            f"{indent}{printable(who, 9):<9}",
            f"bold {STYLES.get(who, '$foreground')}",
            printable(text.replace("\n", " ⏎ "), letters),
            width,
        )
        for who, text in spoken[:turns]
    ]
    if len(spoken) > turns:
        lines.append(Content.styled(f"{indent}and {len(spoken) - turns:,} more turns", "$muted"))
    return lines
