"""Where the Hub is, where its downloads lie, and who we are to it: all from the environment, as `huggingface_hub` reads it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from engine.display import printable

OFFICIAL = "https://huggingface.co"
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TOKENS = re.compile(r"\b(?:hf|api|hf_oauth|hf_jwt)_[A-Za-z0-9_.-]{8,}|(?i:bearer)\s+\S+")
_QUERIES = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")


def endpoint() -> str:
    """The address of the Hub, or of the mirror that HF_ENDPOINT names."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def is_mirror() -> bool:
    """Another server than huggingface.co answers."""
    return endpoint() != OFFICIAL


def host() -> str:
    """The Hub's name for the screen: ``huggingface.co``, or the mirror's host."""
    return printable(urlsplit(endpoint()).netloc.rpartition("@")[2] or endpoint(), 100)


def page(repo_id: str, kind: str = "model") -> str:
    """The address of a repository's page, for a person to open in a browser."""
    return f"{OFFICIAL}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"


def cache_folder() -> Path:
    """Where downloads lie; HF_HOME or HF_HUB_CACHE move it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    """HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids network access."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def token_source() -> str | None:
    """Where the token comes from, in words; None when nobody is logged in. The token itself is never returned."""
    from huggingface_hub import constants

    for name in _TOKEN_VARIABLES:
        if os.environ.get(name, "").strip():
            return f"the variable {name}"
    try:
        stored = Path(constants.HF_TOKEN_PATH).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return "hf auth login" if stored else None


def redacted(text: str) -> str:
    """Foreign words without tokens and without the signatures of download addresses."""
    for name in _TOKEN_VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= 4:
            text = text.replace(value, "***")
    return _QUERIES.sub(r"\1?...", _TOKENS.sub("***", text))
