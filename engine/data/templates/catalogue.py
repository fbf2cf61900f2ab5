"""The catalogue of chat templates by family: ``presets/templates/catalogue.json``.

Some templates are written here from the published prompt formats; others come with the installed TRL, which has copies
of well-known templates that mark the assistant's words. They are read from TRL's folder without importing it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import presets
from engine.data.templates.tags import without_tags

FOLDER = Path(presets.__path__[0], "templates")
Thinking = Literal["none", "kept", "last"]


@dataclass(frozen=True, slots=True)
class Family:
    """One chat template.

    Attributes:
        name: As ``chat_template`` in run.yaml takes it.
        title: For people.
        end: Tokens that end the assistant's turn, the usual one first; empty for the model's own end token.
        tokens: Special tokens the template writes, so the model needs them.
        system: A system message is allowed.
        tools: Tool calls are written.
        thinking: What becomes of the thinking in answers: ``kept`` in all, kept in the ``last`` answer only, or ``none``
            where the template has no place for it and it stays out.
        opening: What the assistant writes before its words, such as an empty thinking block.
        closing: What it writes between its words and the end, such as a space.
        file: Template file of ours, with generation tags.
        trl: Name of the template in TRL's folder, for those that come with it.
        aliases: Other names for it.
    """

    name: str
    title: str
    end: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    system: bool = True
    tools: bool = False
    thinking: Thinking = "none"
    opening: str = ""
    closing: str = ""
    file: str = ""
    trl: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        """Its text is on this machine; TRL's come with the training packages."""
        return bool(self.file) or _trl_file(self.trl) is not None

    @property
    def text(self) -> str:
        """The template as it is published and saved with a result, without generation tags."""
        if self.file:
            return without_tags(self.training or "")
        path = _trl_file(self.trl)
        assert path is not None, "ask `available` first"
        return path.read_text("utf-8")

    @property
    def training(self) -> str | None:
        """The template with generation tags; None where there is none."""
        path = FOLDER / self.file if self.file else _trl_file(f"{self.trl}_training")
        return path.read_text("utf-8") if path is not None else None


@cache
def families() -> tuple[Family, ...]:
    """Every template of the catalogue, the most usual first."""
    listed = json.loads((FOLDER / "catalogue.json").read_text("utf-8"))["templates"]
    return tuple(Family(**{key: _frozen(value) for key, value in entry.items()}) for entry in listed)


def family(name: str) -> Family | None:
    """The template with this name or alias; upper and lower case do not matter."""
    wanted = name.strip().lower()
    return next((found for found in families() if wanted in (found.name, *found.aliases)), None)


def recognise(source: str) -> Family | None:
    """The family whose published template is exactly this one."""
    return _by_text().get(source.strip())


def training_copy(source: str) -> str | None:
    """The same template with generation tags, where it is a well-known one."""
    found = recognise(source)
    if found is not None and found.training is not None:
        return found.training
    return _trl_copies().get(source.strip())


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@cache
def _by_text() -> dict[str, Family]:
    return {found.text.strip(): found for found in reversed(families()) if found.available}


@cache
def _trl_folder() -> Path | None:
    spec = find_spec("trl")
    return Path(spec.origin).parent / "chat_templates" if spec is not None and spec.origin else None


def _trl_file(name: str) -> Path | None:
    folder = _trl_folder()
    path = folder / f"{name}.jinja" if folder is not None and name else None
    return path if path is not None and path.is_file() else None


@cache
def _trl_copies() -> dict[str, str]:
    """Every template of TRL that has a copy for training, also those that are not in the catalogue."""
    folder, copies = _trl_folder(), {}
    for copy in sorted(folder.glob("*_training.jinja")) if folder is not None else ():
        original = copy.with_name(copy.name.replace("_training.jinja", ".jinja"))
        if original.is_file():
            copies[original.read_text("utf-8").strip()] = copy.read_text("utf-8")
    return copies
