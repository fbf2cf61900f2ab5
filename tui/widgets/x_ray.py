"""A row as the model sees it: what is learnt stands in brackets and in another colour."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.data.templates.segments import Segment
from engine.display import printable

STYLES = {
    "masked": "$muted",
    "learnt": "bold $success",
    "end": "bold reverse $success",
    "cut": "$muted strike",
}


class XRayView(VerticalScroll):
    """A box with the text of one row; it scrolls when the row is long."""

    DEFAULT_CSS = "XRayView { border: round $muted; height: auto; padding: 0 1; }"

    def compose(self) -> ComposeResult:
        yield Static("", id="x-ray", markup=False)

    def show(self, content: Content) -> None:
        """Show a picture made by `x_ray_content`."""
        self.query_one("#x-ray", Static).update(content)
        self.scroll_home(animate=False)


def x_ray_content(pieces: Iterable[Segment]) -> Content:
    """The whole text; learnt parts as ``[...]``, line ends as ⏎, what is cut off struck through and said in words."""
    parts: list[tuple[str, str]] = []
    open_, cut = False, False
    for piece in pieces:
        learnt = piece.kind in ("learnt", "end")
        if learnt != open_:
            parts.append(("[" if learnt else "]", STYLES["learnt"]))
            open_ = learnt
        if piece.kind == "cut" and not cut:
            parts.append(("‖ cut off from here: ", "bold $error"))
            cut = True
        parts += _shown(piece)
    if open_:
        parts.append(("]", STYLES["learnt"]))
    return Content.assemble(*parts)


def _shown(piece: Segment) -> list[tuple[str, str]]:
    style = STYLES[piece.kind]
    if not piece.left_out:
        return [(_visible(piece.text), style)]
    half = len(piece.text) // 2
    gap = f" ... {piece.left_out:,} characters not shown ... "
    return [(_visible(piece.text[:half]), style), (gap, "$muted"), (_visible(piece.text[half:]), style)]


def _visible(text: str) -> str:
    shown = printable(text, len(text), newlines=True)
    return shown.replace("\t", "→").replace("\n", "⏎\n")
