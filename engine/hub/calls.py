"""Requests to the Hub: bounded in time, repeated where that helps, through `huggingface_hub`'s own session."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from engine.display import duration
from engine.errors import UserError
from engine.hub import settings
from engine.hub.task import Task

CONNECT_TIMEOUT = 3.0  # seconds for each address of the server
READ_TIMEOUT = 10.0  # seconds without a single byte
BACKOFF = (0.5, 1.0, 2.0)  # seconds before each further try
LONGEST_WAIT = 60.0  # seconds that a busy Hub may ask us to wait
HURRY = 5.0  # the same, and the read timeout, where a person waits for a list

T = TypeVar("T")


def timeouts() -> tuple[float, float, float, float]:
    """Connect, read, write and pool timeout in seconds, as the session takes them."""
    return (CONNECT_TIMEOUT, READ_TIMEOUT, READ_TIMEOUT, CONNECT_TIMEOUT)


def http() -> Any:
    """The HTTP library under `huggingface_hub` (httpx or httpx2, by its version)."""
    from huggingface_hub import get_session

    return importlib.import_module(type(get_session()).__module__.partition(".")[0])


def headers() -> dict[str, str]:
    """Who we are; with the token, where there is one."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    return dict(build_hf_headers(library_name="finetui"))


def get_json(
    path: str, params: Mapping[str, Any] | None = None, task: Task | None = None, hurry: bool = False
) -> Any:
    """The answer of the Hub's API.

    Args:
        path: Below the endpoint, such as ``/api/models``.
        params: Query parameters.
        task: Told when the Hub is busy.
        hurry: Rather fail than let somebody wait.

    Raises:
        Exception: What `huggingface_hub` and its HTTP library raise; `engine.hub.trouble.explain` puts it in words.
        UserError: The answer is not JSON.
    """
    from huggingface_hub import get_session, hf_raise_for_status

    def ask() -> Any:
        response = get_session().get(
            settings.endpoint() + path,
            params=params,
            headers=headers(),
            timeout=min(READ_TIMEOUT, HURRY) if hurry else timeouts(),
            follow_redirects=True,
        )
        hf_raise_for_status(response)
        try:
            return response.json()
        except ValueError:
            raise UserError(
                f"{settings.host()} did not answer like a Hub.",
                settings.host(),
                "A login page of the network, or a wrong HF_ENDPOINT, are the usual causes.",
            ) from None

    return repeated(ask, task or Task(), HURRY if hurry else LONGEST_WAIT)


def repeated(ask: Callable[[], T], task: Task, longest_wait: float = LONGEST_WAIT) -> T:
    """Ask again when the Hub is busy or stumbles; not when it cannot be reached at all, so that offline is said at once."""
    silences = 0
    for pause in (*BACKOFF, None):
        task.check()
        try:
            return ask()
        except Exception as error:
            silences += isinstance(error, http().TimeoutException)
            wait = pause_before_retry(error, pause, longest_wait)
            if wait is None or silences > 1:  # a server that stays silent costs a whole timeout each time
                raise
            task.say(f"{reason(error)}; trying again in {duration(max(1, wait))}.")
            task.sleep(wait)
    raise AssertionError("unreachable")


def pause_before_retry(
    error: Exception, pause: float | None, longest_wait: float = LONGEST_WAIT
) -> float | None:
    """How long to wait before the same request may succeed; None when it will not."""
    if pause is None:
        return None
    status = status_of(error)
    if status == 429:
        wanted = seconds_wanted(error)
        return None if wanted is not None and wanted > longest_wait else max(pause, wanted or 0.0)
    if status is not None:
        return pause if status >= 500 or status == 408 else None
    library = http()
    if isinstance(error, library.ConnectError | library.ConnectTimeout):
        return None
    passing = (library.TimeoutException, library.NetworkError, library.RemoteProtocolError)
    return pause if isinstance(error, passing) else None


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an exception carries."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def seconds_wanted(error: BaseException) -> float | None:
    """How long the Hub asks us to wait: Retry-After, or its rate limit header."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    found = getattr(getattr(error, "response", None), "headers", None) or {}
    after = str(found.get("retry-after", "")).strip()
    if after.isdigit():
        return float(after)
    limit = parse_ratelimit_headers(found)
    return float(limit.reset_in_seconds) if limit is not None else None


def reason(error: Exception) -> str:
    """A few words on a failure that may pass."""
    status = status_of(error)
    if status == 429:
        return f"{settings.host()} asks for a pause"
    if status is not None:
        return f"{settings.host()} has a problem (error {status})"
    if isinstance(error, http().TimeoutException):
        return f"{settings.host()} sends nothing"
    return "The connection broke"
