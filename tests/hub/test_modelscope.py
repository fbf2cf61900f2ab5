"""ModelScope through its own client: missing, working, failing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.hub.datasets import files
from engine.hub.download import download, tokenizer_files
from engine.hub.names import parse
from engine.hub.task import Cancelled, Progress, Task
from engine.models.folder import inspect_model

# The same names, arguments and callbacks as modelscope 1.40.
CLIENT = """
import fnmatch, os, pathlib

def snapshot_download(model_id=None, revision=None, cache_dir=None, repo_type=None, allow_patterns=None,
                      progress_callbacks=None, **other):
    if model_id == "ada/none":
        raise RuntimeError("404 not found: https://modelscope.cn/x?token=hf_secretsecret12")
    folder = pathlib.Path(os.environ["MODELSCOPE_CACHE"], model_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "train.jsonl"):
        if allow_patterns is None or any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
            callbacks = [make(name, 10) for make in progress_callbacks or []]
            for callback in callbacks:
                callback.update(10)
            (folder / name).write_text(f"{revision} {repo_type}")
            for callback in callbacks:
                callback.end()
    return str(folder)
"""


@pytest.fixture
def modelscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "modelscope" / "hub"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "snapshot_download.py").write_text(CLIENT)
    monkeypatch.syspath_prepend(str(package.parents[1]))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "scope"))
    for name in [name for name in sys.modules if name.split(".")[0] == "modelscope"]:
        monkeypatch.delitem(sys.modules, name)


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(UserError) as caught:
        download("modelscope:Qwen/Qwen3-0.6B")
    assert caught.value.fix.endswith("pip install modelscope")


def test_through_its_client(modelscope: None) -> None:
    told: list[Progress] = []
    folder = download("modelscope:ada/tiny", task=Task(told.append))
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (folder / "config.json").read_text() == "master model"
    assert (told[-1].done, told[-1].total) == (30, 30)
    assert (files("modelscope:ada/rows")[0]).read_text() == "master dataset"
    assert {path.name for path in tokenizer_files("modelscope:ada/other").iterdir()} == {
        "config.json",
        "tokenizer.json",
    }
    with pytest.raises(Cancelled):
        download("modelscope:ada/tiny", task=Task(cancelled=lambda: True))


def test_its_errors_in_words(modelscope: None) -> None:
    with pytest.raises(UserError, match="ModelScope's client failed: 404 not found") as caught:
        download("modelscope:ada/none")
    assert "secretsecret" not in str(caught.value)


def test_the_environment_can_prefer_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("Qwen/Qwen3-0.6B").place == "hub"
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert parse("Qwen/Qwen3-0.6B").place == "modelscope"


def test_its_names_are_known_models() -> None:
    facts = inspect_model("modelscope:Qwen/Qwen3-0.6B")
    assert (facts.path, facts.folder) == ("modelscope:Qwen/Qwen3-0.6B", None)
    assert facts.params is not None
    with pytest.raises(UserError):
        inspect_model("modelscope:../x")
