"""The bottom line: what the keys do here."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from tui.keymap import Key

MAX_KEYS = 6  # more than that nobody reads
GAP = "   "
NOT_WHILE_TYPING = ("list.choose", "method.fields", "home.mark", "home.remove")


class KeyLine(Widget):
    """The most important keys of a screen, as many as fit.

    While a text field has the focus, letters go into the field, so only the other keys are shown.

    Args:
        keys: The keys, most important first.
    """

    DEFAULT_CSS = "KeyLine { dock: bottom; height: 1; padding: 0 1; }"
    can_focus = False

    def __init__(self, keys: list[Key]) -> None:
        super().__init__()
        self._keys = keys
        self._hidden: frozenset[str] = frozenset()
        self._labels: dict[str, str] = {}

    def on_mount(self) -> None:
        self.watch(self.screen, "focused", self._focus_changed, init=False)

    def _focus_changed(self) -> None:
        self.refresh()

    def hide(self, *ids: str) -> None:
        """Leave out keys that mean nothing at the moment."""
        if self._hidden != frozenset(ids):
            self._hidden = frozenset(ids)
            self.refresh()

    def relabel(self, **labels: str) -> None:
        """Other words for a key, by its id with the dot written as an underscore."""
        if self._labels != labels:
            self._labels = labels
            self.refresh()

    def _shown(self) -> list[tuple[Key, str]]:
        typing = isinstance(self.screen.focused, Input)
        keys = [
            (key, self._labels.get(key.id.replace(".", "_"), key.label))
            for key in self._keys
            if key.label and key.id not in self._hidden and not (typing and len(key.shown) == 1)
        ]
        if typing:
            extra: tuple[Key, ...] = getattr(self.screen.focused, "typing_keys", ())
            keys = [(key, label) for key, label in keys if key.id not in NOT_WHILE_TYPING]
            keys[1:1] = [(key, key.label) for key in extra]
        limit = MAX_KEYS if self.size.width < 100 else len(keys)
        while len(keys) > limit or (len(keys) > 2 and self._width(keys) > self.size.width):
            # The last two, help and leave, are worth more than those before them.
            del keys[-3 if len(keys) > 2 else -1]
        return keys

    @staticmethod
    def _width(keys: list[tuple[Key, str]]) -> int:
        return sum(len(key.shown) + len(label) + 1 for key, label in keys) + len(GAP) * (len(keys) - 1)

    def render(self) -> Content:
        shown = self._shown()
        return Content(GAP).join(
            Content.assemble((key.shown, "bold $primary"), " ", label) for key, label in shown
        )

    def on_click(self, event: events.Click) -> None:
        """A click on a key does what the key does."""
        at = event.x - self.styles.padding.left
        for key, label in self._shown():
            width = len(key.shown) + 1 + len(label)
            if 0 <= at < width and key.action:
                self.run_later(key)
                return
            at -= width + len(GAP)

    def run_later(self, key: Key) -> None:
        """Run the action of a key on the screen."""
        action = key.action if key.action.startswith("app.") else f"screen.{key.action}"
        self.app.call_later(self.app.run_action, action)
