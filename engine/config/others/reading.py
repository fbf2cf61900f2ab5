"""Reading another tool's file: every key is taken, or listed with the reason why not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.config.others.table import Pair, show
from engine.config.schema import SECTIONS, RunConfig, keys
from engine.data.sources import is_hub_id
from engine.display import printable

MISSING = object()
DEFAULT = "the default of"


@dataclass(slots=True)
class Reading:
    """A file of another tool that is being read.

    Attributes:
        tree: Its keys; each is removed once it is understood.
        folder: Where the file is.
        asked: The objective the user named.
        taken: Our key to the value.
        origin: Our key to what it was taken from.
        notes: What did not come along, in sentences.
    """

    tree: dict[str, Any]
    folder: Path
    asked: str | None = None
    taken: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def pop(self, theirs: str, default: Any = None) -> Any:
        """A value of theirs, which is understood by that."""
        return self.tree.pop(theirs, default)

    def take(self, ours: str, value: Any, origin: str) -> None:
        """Set one of our settings."""
        if value is not None:
            self.taken[ours] = value
            self.origin[ours] = origin

    def take_if(self, ours: str, theirs: str) -> None:
        """Take a key of theirs as it is, where it is there."""
        if theirs in self.tree:
            self.take(ours, self.tree.pop(theirs), theirs)

    def pairs(self, table: tuple[Pair, ...], skip: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Take what only has another name; sections in ``skip`` do not matter for this run."""
        section_of = keys()
        for pair in table:
            value = self.tree.pop(pair.theirs, MISSING)
            if value is MISSING or value is None:
                continue
            if section_of[pair.ours] in skip:
                self.leave(pair.theirs, value, "without an adapter it has no effect")
                continue
            try:
                self.take(pair.ours, pair.back(value), pair.theirs)
            except (ValueError, TypeError, AttributeError, LookupError) as error:
                self.leave(pair.theirs, value, str(error) or "finetui cannot read its value")

    def leave(self, theirs: str, value: Any, reason: str) -> None:
        """Say that a key did not come along."""
        self.notes.append(f"{printable(theirs, 60)}: {_shown(value)} is left out: {printable(reason, 300)}.")

    def unknown_in(self, theirs: str, item: Mapping[str, Any], known: set[str], tool: str) -> None:
        """Say which keys of a nested object did not come along."""
        for key, value in item.items():
            if key not in known and value is not None:
                self.leave(f"{theirs}.{key}", value, f"finetui has no counterpart of this key of {tool}")

    def sources(self, ours: str, items: list[dict[str, Any]], origin: str) -> None:
        """Set the datasets; files are looked for beside the configuration, then where the command was given."""
        made = []
        for item in items:
            item = {key: value for key, value in item.items() if value not in (None, "", [], {})}
            if isinstance(item.get("path"), str):
                made.append(item | {"path": self.place(item["path"])})
        if made:
            self.take(ours, made, origin)

    def place(self, path: str) -> str:
        """A path as it holds wherever run.yaml is written."""
        for folder in (self.folder, Path.cwd()):
            if os.path.lexists(folder / path):
                return str((folder / path).absolute())
        return path if is_hub_id(path) else str((self.folder / path).absolute())

    def defaults(self, values: Mapping[str, Any], tool: str, adapter: bool = True) -> None:
        """What the tool would use where its file says nothing; finetui's own defaults are others."""
        section_of = keys()
        for key, value in values.items():
            if key not in self.taken and (adapter or section_of[key] != "lora"):
                self.take(key, value, f"{DEFAULT} {tool}")

    def rest(self, reasons: Mapping[str, str], tool: str) -> None:
        """Say of everything that is left why it did not come along."""
        for key, value in self.tree.items():
            if value is not None:
                reason = reasons.get(str(key), f"finetui has no counterpart of this key of {tool}")
                self.leave(str(key), value, reason)
        self.tree.clear()

    def config(self) -> dict[str, Any]:
        """The settings as sections of run.yaml; a value that run.yaml cannot have is listed, and left to finetui.

        The objective's own checks come with `engine.config.loading.validate`, which is to be asked last.
        """
        section_of = keys()
        while True:
            tree: dict[str, Any] = {}
            for key, value in self.taken.items():
                tree.setdefault(section_of[key], {})[key] = value
            key, reason = _wrong(tree)
            if key not in self.taken or key in ("model_name_or_path", "train", "objective", "tuning"):
                return tree
            origin, value = self.origin.pop(key), self.taken.pop(key)
            if not origin.startswith(DEFAULT):
                self.leave(origin, value, f"not possible in finetui: {reason}")


def _wrong(tree: dict[str, Any]) -> tuple[str, str]:
    try:
        RunConfig.model_validate(tree)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        loc = problem["loc"]
        if problem["type"] == "combination":
            return str((problem.get("ctx") or {}).get("key", "")), str(problem["msg"])
        if len(loc) > 1 and str(loc[0]) in SECTIONS:
            return str(loc[1]), str(problem["msg"]).lower()
    return "", ""


def _shown(value: Any) -> str:
    try:
        return show(value)
    except (ValueError, TypeError):
        return printable(repr(value), 120)
