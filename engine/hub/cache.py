"""The Hub's cache on this disk, in the layout that `huggingface_hub`, transformers and ``hf cache`` share.

``models--owner--name/`` holds ``blobs/`` (files named by their hash), ``snapshots/COMMIT/`` (links with the files' names)
and ``refs/main`` (the commit a branch was at).
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path

from engine.hub import settings
from engine.hub.names import Kind
from engine.run import atomic

COMMIT = re.compile(r"[0-9a-f]{40}")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")


def repo_folder(repo_id: str, kind: Kind) -> Path:
    """Everything of one repository."""
    return settings.cache_folder() / "--".join((f"{kind}s", *repo_id.split("/")))


def snapshot(repo_id: str, kind: Kind, commit: str) -> Path:
    """The folder that shows the files of one commit under their names."""
    return repo_folder(repo_id, kind) / "snapshots" / commit


def blob(repo_id: str, kind: Kind, etag: str) -> Path:
    """Where the content with this hash lies, once it is whole."""
    return repo_folder(repo_id, kind) / "blobs" / etag


def show(content: Path, name: Path) -> None:
    """Give a finished blob its name in a snapshot: a relative link, or a copy where links are not possible."""
    name.parent.mkdir(parents=True, exist_ok=True)
    temporary = name.with_name(f".{name.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        temporary.symlink_to(os.path.relpath(content, name.parent))
    except OSError:
        shutil.copyfile(content, temporary)
    os.replace(temporary, name)


def set_commit(repo_id: str, kind: Kind, revision: str, commit: str) -> None:
    """Remember which commit a branch or tag is at."""
    if commit_of(repo_id, kind, revision) == commit:
        return
    ref = repo_folder(repo_id, kind) / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(ref, commit, 0o644)


def commit_of(repo_id: str, kind: Kind, revision: str) -> str | None:
    """The commit that a branch, tag or commit was at when it was downloaded last."""
    if COMMIT.fullmatch(revision):
        return revision
    try:
        commit = (repo_folder(repo_id, kind) / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def whole_model(repo_id: str, revision: str = "main") -> Path | None:
    """The snapshot of a model that can be loaded without the network, or None."""
    commit = commit_of(repo_id, "model", revision)
    folder = snapshot(repo_id, "model", commit) if commit else None
    if folder is None or not (folder / "config.json").is_file():
        return None
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    if (folder / "model.safetensors").is_file():
        return folder
    weight_map = (atomic.read_json(folder / "model.safetensors.index.json") or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        return None
    names = {str(name) for name in weight_map.values()}
    return folder if all((folder / name).is_file() for name in names) else None


def set_commit_if_new(repo_id: str, kind: Kind, revision: str, commit: str) -> None:
    """As `set_commit`, unless an earlier download is remembered, which must stay usable until a new one is whole."""
    if commit_of(repo_id, kind, revision) is None:
        set_commit(repo_id, kind, revision, commit)
