"""What the Template screen knows: the template, its verdict on the rows, and one row at a time. The work is another process's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.data.templates import catalogue
from engine.data.templates.client import Opened, Picture, TemplateLooker
from engine.data.templates.scan import Scan, Verdict, judge
from engine.data.templates.source import recommend
from engine.models.folder import inspect_model

MOST_CHECKED = 2000  # rows; a thousand short ones take about a second
AT_ONCE = 40  # rows between two signs of progress


@dataclass(frozen=True, slots=True)
class TemplateState:
    """What is known so far.

    Attributes:
        opened: The template and whether it works with the model.
        scan: What it makes of the rows looked at until now.
        whole: All rows that are looked at have been.
        conversational: The rows are conversations, not texts.
        imitated: The rows are there to be imitated, so that not learning from them is a mistake.
    """

    opened: Opened
    scan: Scan
    whole: bool
    conversational: bool
    imitated: bool = True

    @property
    def verdict(self) -> Verdict:
        """Whether a run may start, as far as the rows were looked at."""
        if not self.imitated:
            return Verdict(False, "")
        return judge(self.opened.checks if self.conversational else (), self.scan)


class TemplateCheck:
    """One template over the rows of one dataset.

    Args:
        folder: The model's folder, or one with its tokenizer alone.
        chat_template: As in run.yaml.
        model: The model's id or folder.
        rows: Rows in training form.
        max_length: Length limit of the training in tokens.
    """

    def __init__(
        self, folder: Path, chat_template: str, model: str, rows: list[dict[str, Any]], max_length: int
    ) -> None:
        self.max_length = max_length
        self.rows = rows
        self._looker = TemplateLooker(folder, chat_template, model, max_length)

    def open(self) -> TemplateState:
        """Read tokenizer and template.

        Raises:
            UserError: They cannot be used.
            ClosedError: `close` was called meanwhile.
        """
        talks = any("messages" in row for row in self.rows[:AT_ONCE])
        imitated = any("messages" in row or "text" in row for row in self.rows[:AT_ONCE])
        return TemplateState(self._looker.open(), Scan(), False, talks, imitated)

    def picture(self, index: int) -> Picture:
        """One row as the model sees it.

        Raises:
            UserError: The template refuses it.
            ClosedError: `close` was called meanwhile.
        """
        return self._looker.xray(self.rows[index])

    def scan(self, state: TemplateState, tell: Callable[[TemplateState], None]) -> TemplateState:
        """Look at the rows, telling what was found now and then."""
        parts = list(_parts(self.rows[:MOST_CHECKED]))
        for number, part in enumerate(parts, 1):
            whole = number == len(parts)
            state = replace(state, scan=self._looker.scan(part), whole=whole)
            if not whole:
                tell(state)
        return state

    def close(self) -> None:
        """End the work, whatever it is at."""
        self._looker.close()


@dataclass(frozen=True, slots=True)
class Offer:
    """A template to choose.

    Attributes:
        name: As in run.yaml.
        title: For people.
        note: A few words behind it.
    """

    name: str
    title: str
    note: str = ""


def offers(folder: Path | None, model: str, chosen: str) -> list[Offer]:
    """Every template there is to choose, the recommended first.

    Raises:
        UserError: A file of the model folder is broken.
    """
    from engine.models.chat_template import read_chat_template

    own = read_chat_template(folder) if folder is not None else None
    choice = recommend(own, model)
    listed = [
        Offer(found.name, found.title, "" if found.system else "no system message")
        for found in catalogue.families()
        if found.available
    ]
    if own is not None:
        listed.insert(0, Offer("model", "The model's own"))
    if chosen not in [offer.name for offer in listed] and chosen != "model":
        listed.append(Offer(chosen, Path(chosen).name, "your file"))
    listed.sort(key=lambda offer: offer.name != choice.value)
    return [Offer(listed[0].name, listed[0].title, "recommended"), *listed[1:]]


def tokenizer_folder(model: str) -> Path | None:
    """The folder of a model on this machine, or of its tokenizer alone; None where neither is here."""
    folder = inspect_model(model).folder
    if folder is not None or os.path.isdir(os.path.expanduser(model)):
        return folder
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, "tokenizer.json")
    except (ValueError, OSError):
        return None
    return Path(found).parent if isinstance(found, str) else None


def fetch_tokenizer(model: str, revision: str = "main") -> Path:
    """Download a Hub model's tokenizer and template, a few megabytes without any weights.

    Raises:
        UserError: It cannot be had.
    """
    from engine.hub.client import HubClient

    client = HubClient()
    try:
        return client.tokenizer_files(model, revision)
    finally:
        client.close()


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]
