"""Names of repositories as people write them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

from engine.display import printable
from engine.errors import UserError

Kind = Literal["model", "dataset"]
Place = Literal["hub", "modelscope"]

_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}")
_ADDRESS = re.compile(r"^(?:https?://[^/]+/(?:datasets/)?|hf://(?:datasets/|models/)?|hub:)")
MODELSCOPE = "modelscope:"


@dataclass(frozen=True, slots=True)
class RepoName:
    """A repository: ``owner/name`` and the place that serves it."""

    id: str
    place: Place


def parse(text: str) -> RepoName:
    """Read ``owner/name``, ``modelscope:owner/name``, ``hf://datasets/owner/name``, or the address of a repository's page.

    With ``USE_MODELSCOPE_HUB=1`` in the environment, plain names are looked for on ModelScope.

    Raises:
        UserError: It is no name of a repository.
    """
    name = text.strip()
    place: Place = "modelscope" if os.environ.get("USE_MODELSCOPE_HUB", "").lower() in _YES else "hub"
    if name.lower().startswith(MODELSCOPE):
        place, name = "modelscope", name[len(MODELSCOPE) :]
    elif _ADDRESS.match(name):
        name = "/".join(re.split(r"[?#]", _ADDRESS.sub("", name))[0].split("/")[:2])
    name = name.strip("/")
    if not _ID.fullmatch(name) or ".." in name or "--" in name:
        raise UserError(
            "This is not a name that a repository can have.",
            repr(printable(text, 120)),
            "Names look like owner/name, such as Qwen/Qwen3-0.6B.",
        )
    return RepoName(name, place)


def check_revision(revision: str) -> str:
    """A branch, tag or commit, checked: it becomes part of a path.

    Raises:
        UserError: No branch can have that name.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise UserError(
            "This is not a name that a branch, tag or commit can have.",
            repr(printable(revision, 120)),
            "Leave model_revision at main, or copy the name from the repository's page.",
        )
    return revision


_YES = ("1", "true", "yes", "on")
