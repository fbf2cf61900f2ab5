"""Search the Hugging Face Hub for a model or a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.display import printable
from engine.errors import UserError
from engine.hub.datasets import DatasetParts
from engine.hub.facts import RepoFacts
from engine.hub.names import Kind
from engine.hub.search import Found
from engine.hub.task import Cancelled
from tui.browsing import size_words
from tui.hub import HubLink, count_words, facts_words, given_up, obstacle_of, offline_words
from tui.keymap import bindings
from tui.screens.base import BaseScreen
from tui.screens.pick import PickScreen
from tui.text import hanging, pad, stack
from tui.widgets.choice_list import ChoiceList

WIDE = 90  # columns in which sizes of models have room
PAUSE = 0.3  # seconds a result stays marked before the Hub is asked about it


class HubSearchScreen(BaseScreen):
    """Results with their downloads and likes; of the marked one what it is and whether it can be had.

    Args:
        kind: Models or datasets.
        take: Told the chosen one; a dataset with its config and split, as ``org/name:config@split``.
    """

    KEY_GROUPS = ("hub-search", "list")
    BINDINGS = bindings("hub-search")
    DEFAULT_CSS = """
    HubSearchScreen ChoiceList { margin: 1 1 0 1; }
    HubSearchScreen Input { margin: 1 1 0 1; }
    HubSearchScreen #about { padding: 1 1; height: auto; margin: 0; }
    """
    HELP = """\
Type a few letters of a name and press Enter. The list shows the most downloaded first. "Gated" means that its owner \
asks you to accept conditions on huggingface.co before you may download it.

Nothing is downloaded here, except a description of a few kilobytes."""

    def __init__(self, kind: Kind, take: Callable[[str], None]) -> None:
        super().__init__()
        self._kind = kind
        self._take = take
        self._link = HubLink()
        self._facts: dict[str, RepoFacts | UserError] = {}
        self._found: dict[str, Found] = {}
        self._timer: Timer | None = None

    def head(self) -> Iterable[Widget]:
        title = f"Search the Hugging Face Hub for a {self._kind}"
        yield Static(Content.styled(title, "bold"), classes="head", markup=False)

    def body(self) -> ComposeResult:
        field = Input(placeholder="part of a name; Enter searches", compact=True)
        field.cursor_blink = False
        yield field
        yield ChoiceList()
        yield Static("", id="about", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        if words := offline_words():
            self.notice.say(words)

    def on_unmount(self) -> None:
        self._link.close()

    def on_descendant_focus(self) -> None:
        typing = isinstance(self.focused, Input)
        self.key_line.relabel(hub_take="search" if typing else "take")

    # Searching

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        words = event.value.strip()
        if not words:
            return
        if offline := offline_words():
            self.notice.say(offline)
            return
        self.notice.clear()
        self._say("Searching ...")
        task = self._link.task()
        self.in_background(
            lambda: given_up(lambda: self._link.client.search(words, self._kind, task=task)),
            self._listed,
            "search",
            self._failed,
        )

    def _listed(self, found: list[Found] | None) -> None:
        if found is None:
            return
        self._found = {one.repo_id: one for one in found}
        choices = self.query_one(ChoiceList)
        choices.fill([Option(self._line(one), id=one.repo_id) for one in self._found.values()])
        if found:
            choices.focus()
        else:
            self._say("Nothing has this name. Try fewer letters.")

    def _line(self, one: Found) -> Content:
        width = max(24, self.size.width - 48)
        notes = [
            f"{count_words(one.downloads):>7} downloads" if one.downloads is not None else "",
            f"{count_words(one.likes):>5} likes" if one.likes is not None else "",
            f"{one.params / 1e9:.3g} B" if one.params and self.size.width >= WIDE else "",
            "gated" if one.gated else "",
        ]
        name = printable(one.repo_id, width)
        return Content.assemble(pad(name, width), ("  ".join(["", *filter(None, notes)]), "$muted"))

    def _failed(self, error: UserError) -> None:
        self._say("")
        self.show_error(error)

    def _say(self, words: str) -> None:
        self.query_one("#about", Static).update(Content.styled(words, "$muted"))

    # The marked one

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.notice.clear()
        self._tell()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._look)

    @property
    def _marked(self) -> str | None:
        return self.query_one(ChoiceList).chosen

    def _look(self) -> None:
        marked = self._marked
        if marked is None or marked in self._facts:
            return
        task = self._link.task()

        def work() -> RepoFacts | UserError | None:
            try:
                return self._link.client.look(marked, self._kind, task=task)
            except UserError as error:
                return error
            except Cancelled:
                return None

        def got(facts: RepoFacts | UserError | None) -> None:
            if facts is not None:
                self._facts[marked] = facts
                self._tell()

        self.in_background(work, got, "look")

    def on_resize(self, event: events.Resize) -> None:
        choices = self.query_one(ChoiceList)
        for one in self._found.values():
            choices.replace_option_prompt(one.repo_id, self._line(one))
        self._tell()

    def _tell(self) -> None:
        marked = self._marked
        if marked is None:
            return
        width = self.size.width - 6
        found, facts = self._found.get(marked), self._facts.get(marked)
        lines = [hanging(" ", "", printable(found.about, 160), width)] if found and found.about else []
        if facts is None:
            lines.append(Content.styled("Asking the Hub ...", "$muted"))
        elif isinstance(facts, UserError):
            lines.append(hanging("!", "bold $warning", printable(facts.what, 300), width))
        else:
            lines.append(hanging("→", "bold $primary", " ".join(facts_words(facts)), width))
            if (obstacle := obstacle_of(facts)) is not None:
                lines.append(hanging("!", "bold $error", obstacle.what, width, "bold $error"))
                lines.append(hanging("→", "bold $primary", obstacle.fix, width))
        self.query_one("#about", Static).update(stack(*lines))

    # Taking it

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_take()

    def action_take(self) -> None:
        """Take the marked one, unless it cannot be had."""
        marked = self._marked
        if marked is None:
            return
        facts = self._facts.get(marked)
        if (
            isinstance(facts, RepoFacts)
            and (obstacle := obstacle_of(facts)) is not None
            and self._kind == "dataset"
        ):
            self.show_error(obstacle)
            return
        if self._kind == "model":
            self._done(marked)
            return
        self._say("Asking which parts it has ...")
        task = self._link.task()
        self.in_background(
            lambda: given_up(lambda: self._link.client.parts(marked, task=task)),
            self._choose_config,
            "parts",
            self._failed,
        )

    def _choose_config(self, parts: DatasetParts | None) -> None:
        if parts is None:
            return
        if len(parts.parts) == 1:
            self._choose_split(parts, next(iter(parts.parts)), "")
            return

        def got(config: str | None) -> None:
            if config is not None:
                self._choose_split(parts, config, f":{config}")

        options = [
            Option(
                Content.assemble(pad(printable(name, 40), 42), (f"{len(splits)} splits", "$muted")), id=name
            )
            for name, splits in parts.parts.items()
        ]
        words = "The dataset comes in several configurations. Which one?"
        self.app.push_screen(PickScreen("Which part?", words, options, parts.default), got)

    def _choose_split(self, parts: DatasetParts, config: str, written: str) -> None:
        splits = parts.parts[config]
        name = f"{parts.repo_id}{written}"
        if len(splits) == 1:
            only = next(iter(splits))
            self._done(name if only == "train" else f"{name}@{only}")
            return

        def got(split: str | None) -> None:
            if split is not None:
                self._done(name if split == "train" else f"{name}@{split}")

        options = [
            Option(Content.assemble(pad(printable(split, 40), 42), (_files(files), "$muted")), id=split)
            for split, files in splits.items()
        ]
        words = "train is for training; the others are usually kept to measure with."
        self.app.push_screen(PickScreen("Which split?", words, options, "train"), got)

    def _done(self, name: str) -> None:
        self.dismiss(None)
        self._take(name)

    def action_again(self) -> None:
        """Type other words."""
        self.query_one(Input).focus()

    def action_back(self) -> None:
        """Change nothing."""
        self.dismiss(None)


def _files(files: Mapping[str, int | None]) -> str:
    sizes = list(files.values())
    known = sum(size or 0 for size in sizes)
    files_words = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
    return f"{files_words}, {size_words(known)}" if known else files_words
