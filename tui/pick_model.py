"""The dialog that asks for one of a run's models: its result, a checkpoint, or the base."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual.content import Content
from textual.widgets.option_list import Option

from engine.deliver.source import choices
from engine.errors import UserError
from engine.run.layout import RunDir
from tui.screens.base import BaseScreen
from tui.screens.pick import PickScreen


def pick_model(
    screen: BaseScreen,
    run: RunDir,
    title: str,
    words: str,
    without: str | None,
    marked: str | None,
    done: Callable[[str], None],
    more: Iterable[tuple[str, str]] = (),
) -> None:
    """Ask for a model.

    Args:
        screen: Over which the dialog stands; it shows the error where the run cannot be read.
        run: The run.
        title: The question.
        words: A sentence below it.
        without: The model that is not offered.
        marked: The one that is marked at first.
        done: Given the name of the chosen one; not called where the user thinks better of it.
        more: Further answers below the models: a name and words each.
    """
    try:
        offered = [(name, name) for name in choices(run) if name != without]
    except UserError as error:
        screen.show_error(error)
        return
    listed = [Option(Content(text), id=name) for name, text in (*offered, *more)]
    screen.app.push_screen(
        PickScreen(title, words, listed, marked), lambda name: None if name is None else done(name)
    )
