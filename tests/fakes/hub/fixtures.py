"""Fixtures ``fake_hub`` and ``hub``: the local Hub, and the real client in this process pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.hub import calls, transfer
from tests.fakes.hub.server import FakeHub

TOKEN = "hf_secretSECRETsecret1234567890"


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A local Hub; subprocesses find it through the environment."""
    server = FakeHub()
    home = tmp_path / "hf-home"
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # the local Hub takes uploads by LFS
    for name in (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_HUB_CACHE",
        "TRANSFORMERS_OFFLINE",
        "USE_MODELSCOPE_HUB",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


@pytest.fixture
def hub(fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The same, also for this process; waiting is shortened."""
    import huggingface_hub
    from huggingface_hub import constants

    home = tmp_path / "hf-home"
    monkeypatch.setattr(constants, "ENDPOINT", fake_hub.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", fake_hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(calls, "BACKOFF", (0.01, 0.01))
    monkeypatch.setattr(calls, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(transfer, "BACKOFF", (0.01, 0.01, 0.01))
    huggingface_hub.close_session()
    yield fake_hub
    huggingface_hub.close_session()


@pytest.fixture
def logged_in(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token in HF_TOKEN that the local Hub knows as ada's."""
    fake_hub.accounts[TOKEN] = "ada"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN
