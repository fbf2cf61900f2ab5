"""Tokens are used and never shown: not in errors, progress, the doctor's report or the worker's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UserError
from engine.hub import settings
from engine.hub.client import HubClient
from engine.hub.doctor import diagnose
from engine.hub.download import download
from engine.hub.facts import look
from engine.hub.task import Progress, Task
from tests.fakes.hub.server import FakeHub
from tests.hub.models import demo


def test_the_token_reaches_the_hub_and_nothing_else(hub: FakeHub, logged_in: str) -> None:
    demo(hub, gated="manual", allowed={"ada"})
    download("ada/tiny")
    assert {one.authorization for one in hub.requests("/api/")} == {f"Bearer {logged_in}"}
    assert {one.authorization for one in hub.requests("", "storage")} == {None}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 416, 418, 429, 500])
def test_no_error_repeats_it(hub: FakeHub, logged_in: str, status: int) -> None:
    demo(hub)
    echo = {"X-Error-Message": f"Bearer {logged_in} is bad", "Retry-After": "999"}
    hub.misbehave("", status=status, headers=echo, times=99)
    told: list[Progress] = []
    with pytest.raises(UserError) as caught:
        look("ada/tiny", task=Task(told.append))
    assert logged_in not in str(caught.value) + str(told)


def test_the_worker_does_not_repeat_it(fake_hub: FakeHub, logged_in: str) -> None:
    fake_hub.misbehave("", status=418, headers={"X-Error-Message": f"Bearer {logged_in}"}, times=99)
    client = HubClient()
    with pytest.raises(UserError) as caught:
        client.look("ada/tiny")
    client.close()
    assert logged_in not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hf_abcdefghijklmnop",
        "token=hf_abcdefghijklmnop failed",
        "https://cdn.example/x?X-Amz-Signature=hf_abcdefghijklmnop&y=1",
    ],
)
def test_redacted(text: str) -> None:
    assert "abcdefghij" not in settings.redacted(text)


def test_the_doctor_names_the_source_only(
    hub: FakeHub, logged_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the variable HF_TOKEN" in diagnose()[-1].detail
    assert not hub.seen
    assert diagnose(ask=True)[-1].detail.endswith("logged in as ada through the variable HF_TOKEN.")
    assert "mirror 127.0.0.1" in diagnose()[0].detail
    monkeypatch.setenv("HF_TOKEN", "hf_unknown1234567")
    assert "does not know the token" in diagnose(ask=True)[-1].detail
    monkeypatch.delenv("HF_TOKEN")
    assert "nobody is logged in" in diagnose(ask=True)[-1].detail
    assert "Nobody is logged in" in diagnose()[-1].detail
    store = settings.cache_folder().parent / "token"
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(logged_in)
    assert "A token is set by hf auth login" in diagnose()[-1].detail
    assert logged_in not in str(diagnose() + diagnose(ask=True))


def test_the_doctor_offline(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (finding,) = diagnose(ask=True)
    assert finding.severity == "note"
    assert not hub.seen


def test_the_store_is_the_hubs_own(hub: FakeHub, tmp_path: Path) -> None:
    hub.accounts["hf_storedSTOREDstored"] = "ada"
    demo(hub, private=True, allowed={"ada"})
    with pytest.raises(UserError):
        look("ada/tiny")
    store = tmp_path / "hf-home" / "token"
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text("hf_storedSTOREDstored\n")
    assert look("ada/tiny").private
