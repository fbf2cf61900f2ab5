"""Files to a model repository of the Hub: private unless said otherwise, and nothing sent twice after a cut."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.display import gib, printable
from engine.errors import UserError
from engine.hub import calls, settings
from engine.hub.task import Cancelled, Progress, Task
from engine.hub.trouble import LOGIN, cannot_ask, explain

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        repo_id: ``owner/name``.
        url: Its page.
        commit: The commit that holds the files.
        private: Whether only its owner sees it.
    """

    repo_id: str
    url: str
    commit: str
    private: bool


def check_repo_name(name: str) -> str:
    """A repository name as ``name`` or ``owner/name``.

    Raises:
        UserError: The Hub would not take it.
    """
    parts = name.split("/")
    if len(parts) > 2 or not all(
        _NAME.fullmatch(part) and "--" not in part and ".." not in part for part in parts
    ):
        raise UserError(
            "The Hub does not take this repository name.",
            printable(name, 120),
            "Use letters, digits, '-', '_' and '.', such as my-owl, or owner/my-owl.",
        )
    return name


def require_login() -> None:
    """Raises a `UserError` where nobody is logged in or the network is forbidden."""
    if settings.is_offline():
        raise cannot_ask()
    if settings.token_source() is None:
        raise UserError(
            "Nobody is logged in to the Hub here, and only its owner may write to a repository.",
            settings.host(),
            f"Make a token with write access ({_TOKENS}), then: {LOGIN}",
        )


def push(files: Mapping[str, Path | bytes], repo: str, private: bool, message: str, task: Task) -> Pushed:
    """Upload files as one commit.

    Large files go first, one after the other; the Hub keeps each that has arrived, so a second try sends only the rest.
    The files appear together, with the commit.

    Args:
        files: Path in the repository to file, or to its content.
        repo: ``name`` (of the user who is logged in) or ``owner/name``; made where there is none.
        private: Only the owner may see it. A repository that everybody sees is refused then.
        message: Of the commit.
        task: Told of bytes; may cancel.

    Raises:
        UserError: It is not allowed, or the network failed for good.
        Cancelled: The caller asked to stop; what has arrived is kept by the Hub for the next try.
    """
    require_login()
    check_repo_name(repo)
    try:
        return _push(files, repo, private, message, task)
    except (UserError, Cancelled):
        raise
    except Exception as error:
        task.check()  # a broken-off request after the user has stopped is no failure
        raise explain_upload(error, repo) from None


def _push(files: Mapping[str, Path | bytes], repo: str, private: bool, message: str, task: Task) -> Pushed:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=settings.endpoint(), library_name="finetui")
    repo_id = repo if "/" in repo else f"{calls.repeated(lambda: api.whoami(), task)['name']}/{repo}"
    calls.repeated(lambda: api.create_repo(repo_id, private=private, exist_ok=True), task)
    is_private = bool(calls.repeated(lambda: api.model_info(repo_id), task).private)
    if private and not is_private:
        raise UserError(
            "This repository exists already, and everybody can see it.",
            settings.page(repo_id),
            "Say --public if that is meant, or choose another name: --repo NAME",
        )
    counted = _Counted(task, files)
    additions = [counted.addition(path, source) for path, source in sorted(files.items())]
    for addition in sorted(additions, key=lambda one: one.upload_info.size):
        task.check()
        counted.begins(addition)
        calls.repeated(partial(_preupload, api, repo_id, addition), task)
        counted.ends(addition)
    task.check()
    made = calls.repeated(
        lambda: api.create_commit(repo_id, operations=additions, commit_message=message), task
    )
    return Pushed(repo_id, settings.page(repo_id), str(made.oid), is_private)


def _preupload(api: Any, repo_id: str, addition: Any) -> None:
    """Send one large file, unless the Hub has it; small ones travel with the commit."""
    try:
        api.preupload_lfs_files(repo_id, [addition], free_memory=False)
    except RuntimeError as error:
        # The library wraps what went wrong, and whether it may pass is told by what is inside.
        raise error.__cause__ or error from None


class _Counted:
    """Counts the bytes of an upload and lets it be stopped in the middle of a file."""

    def __init__(self, task: Task, files: Mapping[str, Path | bytes]) -> None:
        self._task = task
        self._total = sum(
            len(source) if isinstance(source, bytes) else source.stat().st_size for source in files.values()
        )
        self._before = 0

    def addition(self, path: str, source: Path | bytes) -> Any:
        """One file of the commit."""
        from huggingface_hub import CommitOperationAdd

        counted = self

        class Addition(CommitOperationAdd):
            @contextlib.contextmanager
            def as_file(self, with_tqdm: bool = False) -> Iterator[Any]:
                with super().as_file(with_tqdm=False) as stream:
                    yield _Watched(stream, counted) if with_tqdm else stream

        return Addition(
            path_in_repo=path, path_or_fileobj=source if isinstance(source, bytes) else str(source)
        )

    def begins(self, addition: Any) -> None:
        """A file is next."""
        name, size = printable(addition.path_in_repo, 120), addition.upload_info.size
        self._tell(0, f"Uploading {name} ({gib(size)})" if size >= 1 << 20 else "")

    def ends(self, addition: Any) -> None:
        """It is there."""
        self._before += addition.upload_info.size
        self._tell(0)

    def at(self, num_bytes: int) -> None:
        """So much of the file has been read to be sent."""
        self._task.check()
        self._tell(num_bytes)

    def _tell(self, num_bytes: int, words: str = "") -> None:
        done = min(self._before + num_bytes, self._total)
        self._task.progress(Progress(self._task.repo_id, done, self._total, words=words))


class _Watched(io.RawIOBase):
    """A file that tells how far it has been read."""

    def __init__(self, stream: Any, counted: _Counted) -> None:
        self._stream, self._counted = stream, counted

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        self._counted.at(self._stream.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def explain_upload(error: Exception, repo: str) -> UserError:
    """What went wrong while writing to the Hub. Never contains a token.

    Args:
        error: What was raised.
        repo: The repository.
    """
    found: BaseException | None = error
    status = None
    while found is not None and status is None:
        status = calls.status_of(found)
        if status is None and found.__cause__ is not None:
            found = found.__cause__
        else:
            break
    where = f"{settings.host()}, repository {printable(repo, 120)}"
    if status == 401:
        source = settings.token_source()
        fix = (
            f"Log in again: {LOGIN}"
            if source == LOGIN
            else "Correct it, or unset it; a token starts with hf_"
        )
        return UserError(
            f"{settings.host()} does not know the token from {source or 'the environment'}.", where, fix
        )
    if status == 403:
        return UserError(
            "The token may not write there: it can only read, or the place belongs to somebody else.",
            where,
            f"Make a token with write access ({_TOKENS}), then: {LOGIN}. Or choose a name of your own: --repo NAME",
        )
    if status == 402 or status == 413:
        return UserError(
            "The account has no room left on the Hub for files of this size.",
            where,
            "Make room there, push the adapter alone (--push_as adapter), or choose another account.",
        )
    if status == 409:
        return UserError(
            "Somebody else changes this repository at the same moment.",
            where,
            "Try again in a minute; what has arrived is not sent again.",
        )
    if status in (400, 422):
        return UserError(
            f"{settings.host()} does not take the files: {printable(settings.redacted(str(error)).strip(), 200)}",
            where,
            "Choose another name with --repo, or report this if the name is fine.",
        )
    told = explain(found if isinstance(found, Exception) else error, repo if "/" in repo else "")
    return UserError(told.what, told.where, f"{told.fix} A second try sends only what has not arrived.")
