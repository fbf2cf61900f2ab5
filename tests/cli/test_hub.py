"""``finetui hub`` against the local Hub, as a process."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.runs import finetui
from tests.fakes.hub.server import FakeHub
from tests.hub.models import demo


def test_search_look_download(fake_hub: FakeHub) -> None:
    demo(fake_hub, card={"license": "mit\x1b[2J"})
    fake_hub.dataset("ada/rows", {"train.jsonl": b"{}\n", "test.jsonl": b"{}\n"})
    found = finetui("hub", "search", "tiny")
    assert found.stdout.startswith("ada/tiny")
    looked = finetui("hub", "look", "ada/tiny")
    assert looked.returncode == 0, looked.stderr
    assert "to download" in looked.stdout
    assert "mit\\x1b[2J" in looked.stdout
    got = finetui("hub", "download", "ada/tiny")
    assert got.returncode == 0, got.stderr
    assert (Path(got.stdout.strip()) / "model.safetensors").is_file()
    assert "Downloading ada/tiny" in got.stderr
    told = json.loads(finetui("hub", "look", "ada/rows", "--dataset", "--json").stdout)
    assert told["parts"] == {"default": {"train": ["train.jsonl"], "test": ["test.jsonl"]}}
    (path,) = json.loads(
        finetui("hub", "download", "ada/rows", "--dataset", "--split", "test", "--json").stdout
    )
    assert path.endswith("test.jsonl")


def test_errors_are_three_lines(fake_hub: FakeHub) -> None:
    done = finetui("hub", "download", "ada/none")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["Error", "Where", "Fix"]
