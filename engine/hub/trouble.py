"""What goes wrong between us and the Hub, in words."""

from __future__ import annotations

import difflib
import errno
import os
from pathlib import Path

from engine.display import duration, printable
from engine.errors import UserError
from engine.hub import calls, settings
from engine.hub.names import Kind

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOGIN = "hf auth login"


def explain(error: Exception, repo_id: str, kind: Kind = "model", revision: str = "main") -> UserError:
    """Any exception of a Hub call as what, where and fix. Never contains a token.

    Args:
        error: What was raised; a `UserError` comes back as it is.
        repo_id: What was asked for; empty for a search.
        kind: Model or dataset.
        revision: The branch, tag or commit that was asked for.
    """
    from huggingface_hub import errors

    if isinstance(error, UserError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return cannot_ask()
    status = calls.status_of(error)
    where = settings.page(repo_id, kind) if repo_id else settings.host()
    if isinstance(error, errors.GatedRepoError):
        return _gated(repo_id, kind, status)
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(
            f"The {kind} has no branch, tag or commit called {printable(revision, 80)!r}.",
            where,
            "Leave model_revision at main, or copy the name from the page.",
        )
    if isinstance(error, errors.DisabledRepoError):
        return UserError(
            f"The Hub has switched this {kind} off.", where, f"Choose another {kind}; its page says why."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return UserError(f"The {kind} lacks a file that is needed.", where, "Look at the files on its page.")
    if status == 401 and _bad_token(error):
        return _wrong_token(where)
    if isinstance(error, errors.RepositoryNotFoundError) or (repo_id and status in (401, 404)):
        return _not_found(repo_id, kind)
    if status == 403:
        return UserError(
            f"{settings.host()} does not let this token read the {kind}.",
            where,
            "Make a token that may read it (huggingface.co/settings/tokens; a fine-grained token must list gated "
            f"repositories), then: {LOGIN}",
        )
    if status == 429:
        wanted = calls.seconds_wanted(error)
        when = f"in {duration(wanted)}" if wanted else "in a few minutes"
        more = "" if settings.token_source() else f" Logged-in users may ask more often: {LOGIN}"
        return UserError(
            f"{settings.host()} is asked too often from this address and wants a pause.",
            where,
            f"Try again {when}.{more}",
        )
    if status is not None and status >= 500:
        return UserError(
            f"{settings.host()} has a problem of its own (error {status}), also after several tries.",
            where,
            f"Try again in a few minutes; what has arrived is kept.{_other_server()}",
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return disk_full(Path(error.filename) if error.filename else settings.cache_folder())
    if isinstance(error, PermissionError | NotADirectoryError | FileExistsError | IsADirectoryError):
        return UserError(
            f"The download cannot be written: {os.strerror(error.errno or errno.EACCES)}.",
            printable(error.filename or settings.cache_folder(), 300),
            "Set HF_HOME to a folder that you may write to.",
        )
    return _network(error, where)


def offline(repo_id: str) -> UserError:
    """Network access is forbidden, and the cache does not have what is needed."""
    name = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    return UserError(
        f"{printable(repo_id, 120)} is not on this disk, and {name} forbids downloads.",
        printable(settings.cache_folder(), 300),
        f"Allow them (unset {name}), or take what is on this disk.",
    )


def cannot_ask() -> UserError:
    """Network access is forbidden, so there is no answer from the Hub."""
    name = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    return UserError(
        f"The Hub is not asked, because {name} is set.",
        settings.host(),
        f"Allow it (unset {name}). What is on this disk works without.",
    )


def disk_full(folder: Path) -> UserError:
    """The disk filled up while something was written."""
    return UserError(
        "The disk is full. Unfinished files of the download were removed; finished ones are kept.",
        printable(folder, 300),
        "Free some space and try again, or set HF_HOME to a folder on a larger disk.",
    )


def _gated(repo_id: str, kind: Kind, status: int | None) -> UserError:
    from engine.hub.twins import available_twins

    page = settings.page(repo_id, kind)
    if status == 401 or settings.token_source() is None:
        what = f"This {kind} is gated: its owner wants to know who takes it, and nobody is logged in here."
        fix = f"Accept its licence on {page}, then log in: {LOGIN}"
    else:
        what = f"This {kind} is gated, and the account of your token has not been let in (yet)."
        fix = f"Open {page} with that account and accept the licence; some owners answer by hand, which takes a while."
    twins = available_twins(repo_id) if kind == "model" else ()
    if twins:
        fix += f" The same weights without a gate: {' or '.join(twins)}"
    return UserError(what, page, fix)


def _not_found(repo_id: str, kind: Kind) -> UserError:
    from engine.models import catalogue

    fix = f"Check the spelling. If it is private: {LOGIN}"
    if settings.token_source():
        fix = "Check the spelling. If it is private, the account of your token must be allowed to see it."
    if kind == "model":
        ids = {model.id.lower(): model.id for model in catalogue.load()}
        names = {lower.rpartition("/")[2]: known for lower, known in ids.items()}
        wanted = repo_id.lower()
        near = [ids[found] for found in difflib.get_close_matches(wanted, ids, 2, 0.8)]
        near = near or [
            names[name] for name in difflib.get_close_matches(wanted.rpartition("/")[2], names, 2, 0.75)
        ]
        if near:
            fix = f"Did you mean {' or '.join(near)}? {fix}"
    return UserError(
        f"{settings.host()} has no {kind} of this name, or does not show it to you.",
        printable(repo_id, 120),
        fix,
    )


def _bad_token(error: Exception) -> bool:
    words = str(getattr(error, "server_message", "") or "") + str(error)
    return any(
        part in words for part in ("Invalid credentials", "Invalid username or password", "Expired token")
    )


def _wrong_token(where: str) -> UserError:
    source = settings.token_source() or "the environment"
    fix = f"Log in again: {LOGIN}" if source == LOGIN else "Correct or unset it; a token starts with hf_"
    return UserError(f"{settings.host()} does not know the token from {source}.", where, fix)


def _network(error: Exception, where: str) -> UserError:
    library = calls.http()
    host = settings.host()
    if isinstance(error, library.TimeoutException):
        what = f"{host} does not answer"
    elif isinstance(error, library.ConnectError):
        what = f"{host} cannot be reached ({_detail(error)})"
    elif isinstance(error, library.NetworkError | library.RemoteProtocolError):
        what = f"The connection to {host} broke again and again"
    else:
        what = f"Asking {host} failed: {type(error).__name__}: {_detail(error)}"
    return UserError(
        f"{what}.",
        where,
        f"Check the network (a proxy is named with HTTPS_PROXY). What has arrived is kept.{_other_server()}",
    )


def _detail(error: Exception) -> str:
    lines = settings.redacted(str(error)).strip().splitlines()
    return printable(lines[0] if lines else type(error).__name__, 160)


def _other_server() -> str:
    if settings.is_mirror():
        return f" HF_ENDPOINT names {settings.host()}; unset it to ask huggingface.co."
    return " Where huggingface.co is blocked, HF_ENDPOINT can name a mirror."
