"""What the doctor says about the Hub. Asks nothing of the network unless told to."""

from __future__ import annotations

import os

from engine.display import printable
from engine.hub import calls, settings
from engine.hub.trouble import LOGIN, explain
from engine.machine.finding import Finding

TITLE = "Hugging Face Hub"


def diagnose(ask: bool = False) -> list[Finding]:
    """Server, offline mode and token.

    Args:
        ask: Also ask the Hub whether it answers and whose token this is (one request).
    """
    found = []
    source = settings.token_source()
    if settings.is_offline():
        found.append(
            Finding(
                "note",
                TITLE,
                "Offline mode is on (HF_HUB_OFFLINE): only models and datasets on this disk can be used.",
                "To download: unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE",
            )
        )
        return found
    if settings.is_mirror():
        found.append(
            Finding("note", TITLE, f"Downloads come from the mirror {settings.host()} (HF_ENDPOINT).")
        )
    if ask:
        found.append(_answer(source))
    elif source:
        found.append(Finding("ok", TITLE, f"A token is set by {source}."))
    else:
        found.append(
            Finding(
                "ok", TITLE, f"Nobody is logged in, which is fine for open models. Gated ones need: {LOGIN}"
            )
        )
    if os.environ.get("HF_TOKEN") and os.environ["HF_TOKEN"].strip() != os.environ["HF_TOKEN"]:
        found.append(
            Finding("warning", "HF_TOKEN", "It has blanks or line breaks around it.", "Set it without them.")
        )
    return found


def _answer(source: str | None) -> Finding:
    try:
        if source is None:
            calls.get_json("/api/models", {"limit": 1}, hurry=True)
            return Finding("ok", TITLE, f"{settings.host()} answers; nobody is logged in.")
        told = calls.get_json("/api/whoami-v2", hurry=True)
    except Exception as error:
        told_error = explain(error, "")
        return Finding("warning", TITLE, told_error.what, told_error.fix)
    name = told.get("name") if isinstance(told, dict) else None
    return Finding(
        "ok", TITLE, f"{settings.host()} answers; logged in as {printable(name, 80)} through {source}."
    )
