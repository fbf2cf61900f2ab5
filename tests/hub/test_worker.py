"""The worker process that keeps network and libraries out of the viewer."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from engine.errors import UserError
from engine.hub.client import HubClient
from engine.hub.task import Cancelled, Progress, Task
from tests.fakes.hub.server import FakeHub
from tests.hub.models import demo, random_model


@pytest.fixture
def client(fake_hub: FakeHub) -> Iterator[HubClient]:
    made = HubClient()
    yield made
    made.close()


def test_every_call_goes_through_the_worker(fake_hub: FakeHub, client: HubClient) -> None:
    demo(fake_hub)
    fake_hub.dataset("ada/rows", {"train.jsonl": b"{}\n"})
    assert client.search("tiny")[0].repo_id == "ada/tiny"
    facts = client.look("ada/tiny")
    assert facts.obstacle is None
    assert facts.missing_bytes > 0
    assert client.parts("ada/rows").choose() == ("default", "train", ["train.jsonl"])
    told: list[Progress] = []
    folder = client.download("ada/tiny", task=Task(told.append))
    assert (folder / "model.safetensors").is_file()
    assert client.tokenizer_files("ada/tiny") == folder
    assert told[-1].done == told[-1].total
    assert client.files("ada/rows")[0].read_bytes() == b"{}\n"
    with pytest.raises(UserError, match="no model of this name"):
        client.look("ada/none")


def test_a_call_can_be_given_up_while_others_go_on(fake_hub: FakeHub, client: HubClient) -> None:
    random_model(fake_hub, num_bytes=1_000_000)
    fake_hub.misbehave("name=model", at=500_000, call=lambda: time.sleep(3))
    stop = threading.Event()
    ended: list[type[BaseException]] = []

    def download() -> None:
        try:
            client.download("ada/big", task=Task(lambda progress: stop.set(), stop.is_set))
        except Cancelled as error:
            ended.append(type(error))

    thread = threading.Thread(target=download)
    thread.start()
    assert client.search("big")
    thread.join(2.5)
    assert ended == [Cancelled]


def test_a_killed_download_goes_on_where_it_was(fake_hub: FakeHub, client: HubClient) -> None:
    repo = random_model(fake_hub, num_bytes=4_000_000)

    def kill() -> None:
        time.sleep(0.3)  # what was sent so far reaches the disk
        assert client._process is not None
        client._process.kill()

    fake_hub.misbehave("name=model", at=3_000_000, call=kill)
    with pytest.raises(UserError, match="ended unexpectedly"):
        client.download("ada/big")
    folder = client.download("ada/big")
    assert (folder / "model.safetensors").read_bytes() == repo.files["main"]["model.safetensors"].content
    assert fake_hub.requests("name=model")[-1].range == "bytes=3000000-"


def test_a_dead_worker_is_said_and_replaced(fake_hub: FakeHub, client: HubClient) -> None:
    demo(fake_hub)
    assert client.search("tiny")
    assert client._process is not None
    fake_hub.misbehave("/api/models", at=0, stall=5)
    threading.Timer(0.2, client._process.kill).start()
    with pytest.raises(UserError, match="ended unexpectedly"):
        client.search("tiny")
    assert client.search("tiny")


def test_the_viewer_loads_no_network_library() -> None:
    code = (
        "import engine.hub.client, sys; "
        "print([m for m in sys.modules if m.split('.')[0] in ('huggingface_hub', 'httpx2', 'httpx', 'yaml')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
