"""Looking at a repository before anything large is downloaded, through the real client."""

from __future__ import annotations

import socket
import time

import pytest

from engine.errors import UserError
from engine.hub import calls
from engine.hub.facts import look
from engine.hub.task import Progress, Task
from engine.models.folder import inspect_model
from tests.fakes.hub.server import FakeHub
from tests.hub.models import demo, random_model


def refused(repo_id: str, **options: str) -> UserError:
    with pytest.raises(UserError) as caught:
        look(repo_id, **options)  # type: ignore[arg-type]
    return caught.value


def test_facts_of_a_model(hub: FakeHub) -> None:
    repo = demo(
        hub,
        card={"license": "apache-2.0"},
        extra={
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "safetensors": {"total": 5},
        },
    )
    weights = len(repo.files["main"]["model.safetensors"].content)
    repo.put(
        {"pytorch_model.bin": b"p" * 9999, "original/consolidated.00.pth": b"c" * 9999, "m-Q4.gguf": b"g"}
    )
    facts = look("ada/tiny")
    assert (facts.licence, facts.library, facts.pipeline, facts.params) == (
        "apache-2.0",
        "transformers",
        "text-generation",
        5,
    )
    assert facts.weights == "safetensors"
    assert facts.obstacle is None
    assert facts.access
    assert not facts.private
    assert (
        facts.config["model_type"] == inspect_model("ada/tiny").model_type
    )  # the cache knows it from now on
    assert weights < facts.download_bytes < weights + 500_000  # one format, nothing of original/
    assert "127.0.0.1" in facts.host
    assert "mirror" in facts.notes[0]
    assert not hub.requests("model.safetensors?", "storage")
    assert not hub.requests("resolve", "hub")[1:]  # config.json was all that was fetched


def test_shards_are_those_of_the_index(hub: FakeHub) -> None:
    repo = random_model(hub, shards=3, num_bytes=90_000)
    repo.put({"model-00001-of-00002.safetensors": b"of another set"})
    assert 90_000 < look("ada/big").download_bytes < 92_000


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "hidden code"),
        ({"model-Q4_K_M.gguf": b"x"}, "GGUF"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, "adapter"),
        ({"README.md": b"x"}, "no weights"),
    ],
)
def test_what_cannot_be_trained_is_said(hub: FakeHub, files: dict[str, bytes], words: str) -> None:
    hub.model("ada/odd", files)
    with pytest.raises(UserError, match=words):
        look("ada/odd").check()


def test_gated_without_a_token(hub: FakeHub) -> None:
    demo(hub, "meta-llama/Llama-3.2-1B", gated="manual")
    hub.model("unsloth/Llama-3.2-1B", {"config.json": b"{}"})
    hub.model("NousResearch/Llama-3.2-1B", {"config.json": b"{}"}, gated="auto")
    facts = look("meta-llama/Llama-3.2-1B")
    assert (facts.gated, facts.access) == ("manual", False)
    with pytest.raises(UserError) as caught:
        facts.check()
    assert "nobody is logged in" in caught.value.what
    assert caught.value.where == "https://huggingface.co/meta-llama/Llama-3.2-1B"
    assert "hf auth login" in caught.value.fix
    assert "unsloth/Llama-3.2-1B" in caught.value.fix
    assert "NousResearch" not in caught.value.fix  # that twin is gated itself


def test_gated_with_a_token(hub: FakeHub, logged_in: str) -> None:
    repo = demo(hub, gated="auto")
    with pytest.raises(UserError, match="has not been let in"):
        look("ada/tiny").check()
    repo.allowed.add("ada")
    facts = look("ada/tiny")
    assert (facts.gated, facts.access, facts.obstacle) == ("auto", True, None)


def test_private(hub: FakeHub, logged_in: str) -> None:
    repo = demo(hub, private=True)
    assert "does not show it to you" in refused("ada/tiny").what
    repo.allowed.add("ada")
    assert look("ada/tiny").private


def test_a_wrong_token_is_named_by_its_source(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    demo(hub)
    monkeypatch.setenv("HF_TOKEN", "hf_wrongWRONGwrong")
    error = refused("ada/tiny")
    assert "does not know the token from the variable HF_TOKEN" in error.what
    assert "hf_wrongWRONGwrong" not in str(error)


def test_not_there_names_what_is_near(hub: FakeHub) -> None:
    error = refused("Qwen/Qwen3-0.6")
    assert "no model of this name" in error.what
    assert "Did you mean Qwen/Qwen3-0.6B" in error.fix
    assert "hf auth login" in error.fix


def test_no_such_branch(hub: FakeHub) -> None:
    demo(hub)
    assert "'v9'" in refused("ada/tiny", revision="v9").what


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b/c", "\x1b]0;x\x07", "", "a b", "x--y"])
def test_impossible_names(hub: FakeHub, name: str) -> None:
    error = refused(name)
    assert "\x1b" not in str(error)
    assert not hub.seen


def test_a_busy_hub_is_waited_for(hub: FakeHub) -> None:
    demo(hub)
    hub.misbehave("/api/models/", status=429, headers={"Retry-After": "0"})
    told: list[Progress] = []
    assert look("ada/tiny", task=Task(told.append)).access
    assert "asks for a pause" in told[0].words


def test_a_long_pause_is_not_waited_for(hub: FakeHub) -> None:
    demo(hub)
    hub.misbehave("/api/models/", status=429, times=9, headers={"ratelimit": '"api";r=0;t=240'})
    error = refused("ada/tiny")
    assert "wants a pause" in error.what
    assert "in 4:00" in error.fix
    assert len(hub.seen) == 1


def test_a_stumble_passes_and_a_breakdown_is_said(hub: FakeHub) -> None:
    demo(hub)
    hub.misbehave("/api/models/", status=500)
    hub.misbehave("/api/models/", status=503)
    assert look("ada/tiny").access
    hub.misbehave("/api/models/", status=502, times=99)
    error = refused("ada/tiny")
    assert "error 502" in error.what
    assert len(hub.requests("/api/models/")) == 3 + len(calls.BACKOFF) + 1


def test_a_silent_hub_is_left(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    demo(hub)
    monkeypatch.setattr(calls, "READ_TIMEOUT", 0.1)
    hub.misbehave("/api/models/", stall=0.5, times=9)
    assert "does not answer" in refused("ada/tiny").what


def test_no_network_is_said_at_once(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        started = time.monotonic()
        error = refused("ada/tiny")
    assert "cannot be reached" in error.what
    assert "HF_ENDPOINT" in error.fix
    assert time.monotonic() - started < 2


def test_offline_mode_asks_nobody(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    demo(hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = refused("ada/tiny")
    assert error.what == "The Hub is not asked, because HF_HUB_OFFLINE is set."
    assert not hub.seen


def test_a_login_page_is_no_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.misbehave("/api/models/", status=200, times=9)
    assert "did not answer like a Hub" in refused("ada/tiny").what


def test_names_that_lead_out_of_the_folder_are_left_out(hub: FakeHub) -> None:
    repo = demo(hub)
    repo.put({"../../evil.json": b"{}", "tokenizer_config/../../x.json": b"{}"})
    assert look("ada/tiny").access
