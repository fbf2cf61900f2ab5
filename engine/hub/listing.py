"""What a repository holds, from one question to the Hub's API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engine.errors import UserError
from engine.hub import calls, settings
from engine.hub.cache import COMMIT
from engine.hub.names import Kind
from engine.hub.task import Task

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file of a commit.

    Attributes:
        path: Its name, with ``/`` between folders.
        size: Bytes; None where the server does not tell in its list.
        etag: The hash that names its content: SHA-256 for large files (LFS), git's SHA-1 for small ones; empty where the
            server does not tell in its list.
    """

    path: str
    size: int | None
    etag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit.

    Attributes:
        repo_id: ``owner/name`` as the server spells it.
        kind: Model or dataset.
        revision: What was asked for.
        commit: What that is now.
        files: Everything in it.
        card: What the server says about it besides: gated, private, tags, cardData, …
    """

    repo_id: str
    kind: Kind
    revision: str
    commit: str
    files: tuple[RepoFile, ...]
    card: Mapping[str, Any]

    def file(self, path: str) -> RepoFile | None:
        """The file of that name."""
        return next((file for file in self.files if file.path == path), None)


if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

_pinned: dict[tuple[str, Kind, str, bool], Listing] = {}


def list_repo(repo_id: str, kind: Kind, revision: str, task: Task, sizes: bool = True) -> Listing:
    """Ask for the files of a repository.

    Args:
        repo_id: ``owner/name``.
        kind: Model or dataset.
        revision: Branch, tag or commit.
        task: The caller.
        sizes: Ask for sizes and hashes too, which is slow for repositories of many thousand files.

    Raises:
        Exception: For `engine.hub.trouble.explain`.
    """
    known = _pinned.get((repo_id, kind, revision, sizes))
    if known is not None:
        return known
    told = calls.get_json(
        f"/api/{kind}s/{repo_id}/revision/{quote(revision, safe='')}",
        {"blobs": "true"} if sizes else None,
        task,
    )
    commit = told.get("sha") if isinstance(told, dict) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise UserError(
            f"{settings.host()} did not answer like a Hub: it names no commit.",
            settings.host(),
            "A wrong HF_ENDPOINT, or a mirror that is not complete, are the usual causes.",
        )
    siblings = told.get("siblings")
    found = (
        (_file(entry) for entry in siblings if isinstance(entry, dict)) if isinstance(siblings, list) else ()
    )
    card = {key: value for key, value in told.items() if key != "siblings"}
    name = told.get("id")
    same = isinstance(name, str) and name.lower() == repo_id.lower()
    listing = Listing(
        name if same else repo_id,
        kind,
        revision,
        commit,
        tuple(file for file in found if file is not None),
        card,
    )
    if COMMIT.fullmatch(revision):  # a commit never changes
        _pinned[repo_id, kind, revision, sizes] = listing
    return listing


def with_sizes(listing: Listing, files: Sequence[RepoFile], task: Task) -> tuple[RepoFile, ...]:
    """The same files, each with size and hash; asks for them one by one where the list did not tell."""
    known = []
    for file in files:
        if file.size is None or not file.etag:
            told = probe(listing, file.path, task)
            etag = told.etag if told.etag and _HASH.fullmatch(told.etag) else ""
            file = replace(file, size=told.size, etag=etag)
        if file.size is None or not file.etag:
            raise UserError(
                f"{settings.host()} does not tell size and checksum of its files, so a download could not be checked.",
                settings.host(),
                "Use huggingface.co or another mirror (HF_ENDPOINT).",
            )
        known.append(file)
    return tuple(known)


def probe(listing: Listing, path: str, task: Task) -> HfFileMetadata:
    """Ask about one file without fetching it: its size and hash, and whether we may have it.

    Raises:
        Exception: For `engine.hub.trouble.explain`.
    """
    from huggingface_hub import get_hf_file_metadata

    ask = partial(
        get_hf_file_metadata, url(listing, path), timeout=calls.READ_TIMEOUT, headers=calls.headers()
    )
    return calls.repeated(ask, task)


def url(listing: Listing, path: str) -> str:
    """Where a file is downloaded from; pinned to the commit, so that all files fit together."""
    prefix = "datasets/" if listing.kind == "dataset" else ""
    return f"{settings.endpoint()}/{prefix}{listing.repo_id}/resolve/{listing.commit}/{quote(path)}"


def _file(entry: Mapping[str, Any]) -> RepoFile | None:
    """One entry of the list; None for a name that would lead out of the folder."""
    path = entry.get("rfilename")
    parts = path.split("/") if isinstance(path, str) else [""]
    if not isinstance(path, str) or any(
        part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts
    ):
        return None
    lfs = entry.get("lfs")
    etag = lfs.get("sha256") if isinstance(lfs, dict) else entry.get("blobId")
    size = lfs.get("size") if isinstance(lfs, dict) else entry.get("size")
    good = isinstance(etag, str) and _HASH.fullmatch(etag)
    return RepoFile(path, size if isinstance(size, int) and size >= 0 else None, str(etag) if good else "")
