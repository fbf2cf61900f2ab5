"""Deleting runs from the list: what is asked before, and the work itself."""

from __future__ import annotations

from collections.abc import Sequence

from engine.display import printable
from engine.run import removing
from engine.run.layout import RunDir
from engine.run.sweeps import Sweep
from tui.screens.confirm import ConfirmScreen

NAMED = 8  # names in a question; further ones are counted


def size_of(folders: Sequence[RunDir]) -> int:
    """What the runs take on the disk, in bytes.

    Raises:
        UserError: One of them goes on, or is no run.
    """
    for folder in folders:
        removing.require_removable(folder)
    return sum(removing.size_of(folder.path) for folder in folders)


def question(folders: Sequence[RunDir], size: int) -> ConfirmScreen:
    """The dialog; its answer is ``delete``, or another to keep them."""
    one = len(folders) == 1
    names = ", ".join(printable(folder.name, 60) for folder in folders[:NAMED])
    names += f" and {len(folders) - NAMED} more" if len(folders) > NAMED else ""
    held = removing.size_words(size)
    sentences = [f"{held[:1].upper()}{held[1:]} of checkpoints, results and logs. It cannot be undone."]
    if not one:
        sentences.append(names)
    options = [("keep", "Keep it" if one else "Keep them"), ("delete", f"Delete {held}")]
    title = f"Delete {names}?" if one else f"Delete {len(folders)} runs?"
    return ConfirmScreen(title, sentences, options)


def remove(folders: Sequence[RunDir], sweep: Sweep | None) -> list[str]:
    """Delete the runs, and the sweep they were; returns their names."""
    for folder in folders:
        removing.remove(folder)
    if sweep is not None:
        removing.remove_sweep(sweep)
    return [folder.name for folder in folders]
