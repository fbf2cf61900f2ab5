"""Small repositories for the local Hub."""

from __future__ import annotations

import json
import os
import struct

from engine.config.draft import DEMO
from tests.fakes.hub.content import FakeRepo
from tests.fakes.hub.server import FakeHub

DEMO_FILES = [
    "config.json", "generation_config.json", "chat_template.jinja", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json",
]  # fmt: skip


def demo(hub: FakeHub, repo_id: str = "ada/tiny", **facts: object) -> FakeRepo:
    """The embedded model as a repository."""
    repo = hub.model(repo_id, **facts)
    repo.put_folder(DEMO, DEMO_FILES)
    return repo


def safetensors(num_bytes: int) -> bytes:
    """A valid file of about that size with random content."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    return struct.pack("<Q", len(header)) + header + os.urandom(num_bytes)


def random_model(
    hub: FakeHub, repo_id: str = "ada/big", num_bytes: int = 3_000_000, shards: int = 1
) -> FakeRepo:
    """Files of a model that nobody loads."""
    files = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}"}
    if shards == 1:
        files["model.safetensors"] = safetensors(num_bytes)
    else:
        names = [f"model-{n + 1:05}-of-{shards:05}.safetensors" for n in range(shards)]
        files |= {name: safetensors(num_bytes // shards) for name in names}
        files["model.safetensors.index.json"] = json.dumps(
            {"weight_map": {f"layer{n}": name for n, name in enumerate(names)}}
        ).encode()
    return hub.model(repo_id, files)
