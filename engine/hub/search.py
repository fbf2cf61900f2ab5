"""Search for models and datasets. A screen asks through `engine.hub.client.HubClient.search`, in another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.display import printable
from engine.hub import calls, settings
from engine.hub.names import Kind
from engine.hub.task import Task
from engine.hub.trouble import cannot_ask, explain

LIMIT = 20
_MOST = 100
_EXPAND: dict[Kind, list[str]] = {
    "model": ["downloads", "likes", "gated", "private", "safetensors", "pipeline_tag", "library_name", "lastModified"],
    "dataset": ["downloads", "likes", "gated", "private", "lastModified", "description"],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """One repository that a search found. All text is safe for a terminal.

    Attributes:
        repo_id: ``owner/name``.
        kind: Model or dataset.
        downloads: In the last month.
        likes: Of users of the Hub.
        gated: Its conditions must be accepted first.
        params: Number of a model's weights.
        pipeline: What a model does, such as ``text-generation``.
        updated: Day of the last change, ``2025-03-01``.
        about: Beginning of a dataset's description.
    """

    repo_id: str
    kind: Kind
    downloads: int | None = None
    likes: int | None = None
    gated: bool = False
    params: int | None = None
    pipeline: str | None = None
    updated: str | None = None
    about: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def found_from(message: Mapping[str, Any]) -> Found:
    """A result as JSON brings it."""
    return Found(**message)


def search(query: str, kind: Kind = "model", limit: int = LIMIT, task: Task | None = None) -> list[Found]:
    """Search the Hub, most downloaded first; of models only those with safetensors weights.

    Args:
        query: Words of the name.
        kind: Models or datasets.
        limit: At most this many, up to 100.
        task: May cancel.

    Raises:
        UserError: The Hub cannot be asked; said within seconds.
    """
    if settings.is_offline():
        raise cannot_ask()
    params: dict[str, Any] = {
        "search": query.strip()[:200],
        "limit": max(1, min(limit, _MOST)),
        "sort": "downloads",
        "expand": _EXPAND[kind],
    }
    if kind == "model":
        params["filter"] = "safetensors"
    try:
        told = calls.get_json(f"/api/{kind}s", params, task, hurry=True)
    except Exception as error:
        raise explain(error, "", kind) from None
    entries = told if isinstance(told, list) else []
    found = (_found(entry, kind) for entry in entries if isinstance(entry, dict))
    return [one for one in found if one is not None][: params["limit"]]


def _found(entry: Mapping[str, Any], kind: Kind) -> Found | None:
    name = entry.get("id")
    if not isinstance(name, str) or not name:
        return None
    tensors = entry.get("safetensors")
    updated = entry.get("lastModified")
    about = entry.get("description")
    pipeline = entry.get("pipeline_tag")
    return Found(
        repo_id=printable(name, 120),
        kind=kind,
        downloads=_whole(entry.get("downloads")),
        likes=_whole(entry.get("likes")),
        gated=bool(entry.get("gated")),
        params=_whole(tensors.get("total")) if isinstance(tensors, dict) else None,
        pipeline=printable(pipeline, 60) if isinstance(pipeline, str) else None,
        updated=printable(updated[:10], 10) if isinstance(updated, str) else None,
        about=printable(" ".join(about.split()), 200) if isinstance(about, str) and about.strip() else None,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
