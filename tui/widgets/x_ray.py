"""A row as the model sees it: what is learnt stands in brackets and in another colour."""

from __future__ import annotations

from itertools import groupby

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.data.render import XRay
from engine.display import printable

MOST_SHOWN = 4000  # characters of one part; the rest is said, not shown


class XRayView(VerticalScroll):
    """A box with the text of one row; it scrolls when the row is long."""

    DEFAULT_CSS = "XRayView { border: round $muted; height: auto; padding: 0 1; }"

    def compose(self) -> ComposeResult:
        yield Static("", id="x-ray", markup=False)

    def show(self, content: Content) -> None:
        """Show a picture made by `x_ray_content`."""
        self.query_one("#x-ray", Static).update(content)
        self.scroll_home(animate=False)


def x_ray_content(seen: XRay) -> Content:
    """The whole text; learnt parts as ``[...]``, line ends as ⏎, what is cut off struck through."""
    parts: list[tuple[str, str]] = []
    kept = [(text, "trained" if trained else "masked") for text, trained in seen.tokens[: seen.kept]]
    cut = [(text, "cut") for text, _ in seen.tokens[seen.kept :]]
    for kind, group in groupby(kept + cut, key=lambda token: token[1]):
        text = _visible("".join(text for text, _ in group))
        if kind == "trained":
            parts.append((f"[{text}]", "bold $success"))
        elif kind == "masked":
            parts.append((text, "$muted"))
        else:
            parts += [("‖ cut off from here: ", "bold $error"), (text, "$muted strike")]
    return Content.assemble(*parts)


def _visible(text: str) -> str:
    return printable(text, MOST_SHOWN, newlines=True).replace("\t", "→").replace("\n", "⏎\n")
