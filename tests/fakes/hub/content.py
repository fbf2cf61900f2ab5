"""What the local Hub holds: repositories, files with the hashes the real one would name, accounts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

LFS_FROM = 10 * 1024  # bytes; the real Hub decides by .gitattributes
LFS_ENDINGS = (".safetensors", ".bin", ".parquet", ".gguf")


@dataclass(frozen=True)
class FakeFile:
    """One file."""

    content: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def git_sha1(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(slots=True)
class FakeRepo:
    """A repository with one commit a branch.

    Attributes:
        files: Branch to path to file.
        gated: As the real API says it: False, ``auto`` or ``manual``.
        allowed: Names of the accounts that see a private repository or passed the gate.
        card: The YAML of the README.
        extra: Further fields of the API's answer.
    """

    id: str
    kind: Literal["model", "dataset"]
    files: dict[str, dict[str, FakeFile]] = field(default_factory=dict)
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    allowed: set[str] = field(default_factory=set)
    card: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def put(self, files: dict[str, bytes], revision: str = "main") -> None:
        """Add or replace files; the branch gets a new commit."""
        self.files.setdefault(revision, {}).update({path: FakeFile(data) for path, data in files.items()})

    def put_folder(self, folder: Path, names: list[str] | None = None) -> None:
        """Add the files of a folder."""
        paths = [folder / name for name in names] if names else [p for p in folder.iterdir() if p.is_file()]
        self.put({path.name: path.read_bytes() for path in paths})

    def commit(self, revision: str) -> str:
        """The commit a branch is at: changes with the content."""
        digest = hashlib.sha1(f"{self.kind} {self.id} {revision}".encode())
        for path, file in sorted(self.files[revision].items()):
            digest.update(f"{path} {file.sha256}\n".encode())
        return digest.hexdigest()

    def branch(self, revision: str) -> str | None:
        """The branch that a branch name or commit means."""
        if revision in self.files:
            return revision
        return next((name for name in self.files if self.commit(name) == revision), None)

    def is_lfs(self, path: str, file: FakeFile) -> bool:
        return path.endswith(LFS_ENDINGS) or len(file.content) >= LFS_FROM

    def siblings(self, revision: str, sizes: bool) -> list[dict[str, Any]]:
        """The list of files as the API gives it."""
        found = []
        for path, file in sorted(self.files[revision].items()):
            entry: dict[str, Any] = {"rfilename": path}
            if sizes:
                entry |= {"size": len(file.content), "blobId": file.git_sha1}
                if self.is_lfs(path, file):
                    entry["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": 134}
            found.append(entry)
        return found

    def info(self, revision: str, sizes: bool) -> dict[str, Any]:
        """The answer of ``/api/models/ID`` and ``/api/datasets/ID``."""
        return {
            "id": self.id,
            "sha": self.commit(revision),
            "private": self.private,
            "gated": self.gated,
            "downloads": 7,
            "likes": 1,
            "tags": [],
            "lastModified": "2026-03-01T12:00:00.000Z",
            "cardData": self.card,
            **self.extra,
            "siblings": self.siblings(revision, sizes),
        }
