"""Configs, splits and files of Hub datasets: as their card says, or as their names tell."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import UserError
from engine.hub import settings
from engine.hub.datasets import files, parts
from engine.hub.facts import look
from engine.hub.search import search
from tests.fakes.hub.server import FakeHub

ROW = b'{"text": "x"}\n'


def layout(hub: FakeHub, paths: list[str], **card: Any) -> dict[str, dict[str, list[str]]]:
    """How a dataset of these files is read."""
    hub.dataset("ada/set", dict.fromkeys(paths, ROW), card=card)
    return {
        name: {split: list(sizes) for split, sizes in splits.items()}
        for name, splits in parts("ada/set").parts.items()
    }


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
            {
                "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                "test": ["data/test-00000-of-00001.parquet"],
            },
        ),
        (["README.md", "my_data.jsonl"], {"train": ["my_data.jsonl"]}),
        (["train/a.csv", "dev/b.csv"], {"train": ["train/a.csv"], "validation": ["dev/b.csv"]}),
        (["a.json", "a.parquet", "b.parquet"], {"train": ["a.parquet", "b.parquet"]}),
        (["constraint.jsonl", "trained.jsonl"], {"train": ["constraint.jsonl", "trained.jsonl"]}),
        (["x.jsonl.gz", "dataset_infos.json", ".hidden.jsonl"], {"train": ["x.jsonl.gz"]}),
    ],
)  # fmt: skip
def test_the_usual_layouts(hub: FakeHub, paths: list[str], expected: dict[str, list[str]]) -> None:
    assert layout(hub, paths) == {"default": expected}


def test_configs_of_the_card(hub: FakeHub) -> None:
    paths = ["en/train-0.parquet", "en/test-0.parquet", "de/a/x.jsonl", "de/a/b/y.jsonl", "raw/z.csv"]
    found = layout(
        hub,
        paths,
        configs=[
            {
                "config_name": "english",
                "data_files": [
                    {"split": "train", "path": "en/train-*.parquet"},
                    {"split": "test", "path": ["en/test-*"]},
                ],
            },
            {"config_name": "german", "data_files": "de/**/*.jsonl", "default": True},
            {"config_name": "raw", "data_dir": "raw"},
            {"config_name": "gone", "data_files": "nothing-*"},
            "nonsense",
        ],
    )
    assert found == {
        "english": {"train": ["en/train-0.parquet"], "test": ["en/test-0.parquet"]},
        "german": {"train": ["de/a/b/y.jsonl", "de/a/x.jsonl"]},
        "raw": {"train": ["raw/z.csv"]},
    }
    assert parts("ada/set").default == "german"


def test_only_the_wanted_files_are_downloaded(hub: FakeHub) -> None:
    hub.dataset(
        "ada/set",
        {"train.jsonl": ROW, "test.jsonl": ROW * 2, "pictures.zip": b"z" * 99},
    )
    (path,) = files("ada/set")
    assert path.name == "train.jsonl"
    assert path.read_bytes() == ROW
    assert [one.path.rpartition("/")[2] for one in hub.requests("/resolve/")] == ["train.jsonl"]
    assert [path.name for path in files("ada/set", split="test")] == ["test.jsonl"]


def test_what_is_not_obvious_is_asked(hub: FakeHub) -> None:
    card = {
        "configs": [{"config_name": name, "data_files": f"{name}.jsonl"} for name in ("en", "de\x1b[31m")]
    }
    hub.dataset("ada/set", {"en.jsonl": ROW, "de\x1b[31m.jsonl": ROW}, card=card)
    with pytest.raises(UserError, match="several parts") as caught:
        files("ada/set")
    assert caught.value.fix == "Name one of its configs: en, de\\x1b[31m."
    with pytest.raises(UserError, match="no part called 'fr'"):
        files("ada/set", "fr")
    with pytest.raises(UserError, match="no split called 'test'") as caught:
        files("ada/set", "en", "test")
    assert caught.value.fix == "Name one of its splits: train."
    assert [path.name for path in files("ada/set", "en")] == ["en.jsonl"]


def test_other_formats_come_as_the_hubs_parquet_copy(hub: FakeHub) -> None:
    repo = hub.dataset("ada/old", {"old.py": b"script", "data.zip": b"z"})
    with pytest.raises(UserError, match="no files in this dataset"):
        files("ada/old")
    repo.put(
        {"default/train/0000.parquet": b"PAR1", "default/partial-test/0000.parquet": b"PAR1"},
        "refs/convert/parquet",
    )
    found = parts("ada/old")
    assert found.converted
    assert {name: list(splits) for name, splits in found.parts.items()} == {"default": ["test", "train"]}
    assert files("ada/old")[0].read_bytes() == b"PAR1"


def test_offline_the_earlier_download_serves(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    card = {"configs": [{"config_name": "only", "data_files": "rows/*.jsonl"}]}
    hub.dataset("ada/set", {"rows/a.jsonl": ROW, "other.jsonl": ROW}, card=card)
    online = files("ada/set")
    hub.dataset("ada/half", {"train-0.jsonl": ROW, "train-1.jsonl": ROW * 3, "test.jsonl": ROW})
    files("ada/half", split="test")
    hub.misbehave("train-1.jsonl", status=404, times=9)
    with pytest.raises(UserError):
        files("ada/half")
    import huggingface_hub

    assert not huggingface_hub.scan_cache_dir(settings.cache_folder()).warnings
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert files("ada/set", "only") == online
    for name in ("ada/unknown", "ada/half"):
        with pytest.raises(UserError, match="not on this disk"):
            files(name)


def test_another_programs_download_serves_too(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    readme = b"---\nconfigs:\n- config_name: only\n  data_files: rows/*.jsonl\n---\n# Rows\n"
    hub.dataset("ada/set", {"README.md": readme, "rows/a.jsonl": ROW, "other.jsonl": ROW})
    cache = str(settings.cache_folder())
    for name in ("README.md", "rows/a.jsonl", "other.jsonl"):
        huggingface_hub.hf_hub_download("ada/set", name, repo_type="dataset", cache_dir=cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert [path.name for path in files("ada/set")] == ["a.jsonl"]


def test_gated_and_missing_datasets_are_explained(hub: FakeHub) -> None:
    hub.dataset("ada/gated", {"train.jsonl": ROW}, gated="auto")
    with pytest.raises(UserError, match="This dataset is gated") as caught:
        files("ada/gated")
    assert caught.value.where == "https://huggingface.co/datasets/ada/gated"
    facts = look("ada/gated", "dataset")
    assert (facts.gated, facts.access) == ("auto", False)
    with pytest.raises(UserError, match="no dataset of this name"):
        files("ada/none")


def test_search(hub: FakeHub) -> None:
    hub.dataset("ada/cats", {}, extra={"description": "All\n\tmy cats \x1b]0;boo\x07"})
    hub.dataset("ada/cats-large", {}, gated="manual")
    hub.model("ada/cats-7B", {}, extra={"safetensors": {"total": 7}, "pipeline_tag": "text-generation"})
    (first, second) = search("cats", "dataset")
    assert (first.repo_id, first.gated, first.updated) == ("ada/cats", False, "2026-03-01")
    assert first.about == "All my cats \\x1b]0;boo\\x07"
    assert second.gated
    (model,) = search(" CATS ")
    assert (model.params, model.pipeline, model.downloads) == (7, "text-generation", 7)
    assert len(search("cats", "dataset", limit=1)) == 1
    hub.misbehave("/api/models", status=500, times=9)
    with pytest.raises(UserError, match="error 500"):
        search("cats")
