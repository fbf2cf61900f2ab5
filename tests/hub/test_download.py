"""Downloads that are cut, spoilt, refused room, or stopped: through the real client and the real file system."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.hub import calls, settings, transfer
from engine.hub.download import download, tokenizer_files
from engine.hub.task import Cancelled, Progress, Task
from engine.models.folder import inspect_model
from tests.fakes.hub.content import FakeRepo
from tests.fakes.hub.server import FakeHub
from tests.hub.models import DEMO_FILES, demo, random_model

MODEL = "model.safetensors"


def same(folder: Path, repo: FakeRepo) -> bool:
    """Every downloaded file is what the repository holds."""
    return all(path.read_bytes() == repo.files["main"][path.name].content for path in folder.iterdir())


def parts() -> list[Path]:
    return sorted(settings.cache_folder().rglob(f"*{transfer.PART}"))


def test_a_model_arrives_whole_and_is_known_from_then_on(hub: FakeHub, logged_in: str) -> None:
    repo = demo(hub)
    repo.put({"pytorch_model.bin": b"p", "README.md": b"r"})
    told: list[Progress] = []
    folder = download("ada/tiny", task=Task(told.append))
    assert sorted(path.name for path in folder.iterdir()) == sorted(DEMO_FILES)
    assert same(folder, repo)
    assert told[-1].done == told[-1].total > 0
    assert inspect_model("ada/tiny").folder == folder
    asked = len(hub.seen)
    assert download("ada/tiny", repo.commit("main")) == folder
    assert len(hub.seen) == asked  # a commit does not change
    storage = hub.requests("", "storage")
    assert storage
    assert not any(one.authorization for one in storage)  # the token stays with the Hub


def test_huggingface_hub_finds_what_we_downloaded(hub: FakeHub) -> None:
    import huggingface_hub

    demo(hub)
    folder = download("ada/tiny")
    cache = str(settings.cache_folder())
    assert huggingface_hub.snapshot_download("ada/tiny", local_files_only=True, cache_dir=cache) == str(
        folder
    )
    scanned = huggingface_hub.scan_cache_dir(cache)
    assert not scanned.warnings
    assert [repo.repo_id for repo in scanned.repos] == ["ada/tiny"]


def test_a_cut_is_continued_where_it_was(hub: FakeHub) -> None:
    repo = random_model(hub)
    for cut in (1_000_000, 500_000):
        hub.misbehave("name=model", cut=cut)
    told: list[Progress] = []
    assert same(download("ada/big", task=Task(told.append)), repo)
    ranges = [one.range for one in hub.requests("name=model")]
    assert ranges == [None, "bytes=1000000-", "bytes=1500000-"]
    assert any("connection broke" in one.words for one in told)


def test_a_stall_in_the_middle_is_continued(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "READ_TIMEOUT", 0.2)
    repo = random_model(hub)
    released = threading.Event()
    hub.misbehave("name=model", at=2_000_000, call=lambda: released.wait(1))
    assert same(download("ada/big"), repo)
    released.set()
    assert hub.requests("name=model")[1].range == "bytes=2000000-"


def test_a_server_that_ignores_ranges_starts_again(hub: FakeHub) -> None:
    repo = random_model(hub)
    hub.misbehave("name=model", cut=1_000_000)
    hub.misbehave("name=model", plain_ranges=True)
    assert same(download("ada/big"), repo)


def test_errors_on_the_way(hub: FakeHub) -> None:
    repo = random_model(hub)
    hub.misbehave("name=model", status=500)
    hub.misbehave(MODEL, status=429, headers={"Retry-After": "0"})
    assert same(download("ada/big"), repo)


def test_a_dead_server_is_left_and_the_rest_kept_for_the_next_try(hub: FakeHub) -> None:
    repo = random_model(hub)
    hub.misbehave("name=model", cut=1_000_000)
    hub.misbehave("name=model", status=503, times=50)
    with pytest.raises(UserError, match="error 503") as caught:
        download("ada/big")
    assert "Signature" not in str(caught.value)
    assert 1_000_000 in [path.stat().st_size for path in parts()]
    hub.troubles.clear()
    assert same(download("ada/big"), repo)
    assert hub.requests("name=model")[-1].range == "bytes=1000000-"


def test_damage_is_noticed_and_fetched_again_once(hub: FakeHub) -> None:
    repo = demo(hub)
    hub.misbehave("name=model", spoil=True)
    hub.misbehave("name=tokenizer.json", spoil=True)
    told: list[Progress] = []
    assert same(download("ada/tiny", task=Task(told.append)), repo)
    assert sum("damaged" in one.words for one in told) == 2
    assert max(one.done for one in told) <= told[-1].total


def test_lasting_damage_leaves_nothing_behind(hub: FakeHub) -> None:
    repo = random_model(hub)
    hub.misbehave("name=model", spoil=True, times=9)
    with pytest.raises(UserError, match="damaged twice"):
        download("ada/big")
    assert not list(settings.cache_folder().rglob(repo.files["main"][MODEL].sha256 + "*"))
    assert len(hub.requests("name=model")) == 2


def test_a_part_left_by_a_killed_process_is_used(hub: FakeHub) -> None:
    repo = random_model(hub)
    file = repo.files["main"][MODEL]
    part = settings.cache_folder() / f"models--ada--big/blobs/{file.sha256}{transfer.PART}"
    part.parent.mkdir(parents=True)
    part.write_bytes(file.content[:1234])
    assert same(download("ada/big"), repo)
    assert hub.requests("name=model")[0].range == "bytes=1234-"


def test_stopping_keeps_what_has_arrived(hub: FakeHub) -> None:
    repo = random_model(hub, num_bytes=4_000_000)
    stop = threading.Event()
    hub.misbehave("name=model", at=3_000_000, call=stop.set)
    with pytest.raises(Cancelled):
        download("ada/big", task=Task(cancelled=stop.is_set))
    assert parts()
    stop.clear()
    assert same(download("ada/big", task=Task(cancelled=stop.is_set)), repo)


def test_two_at_once_download_once(hub: FakeHub) -> None:
    repo = random_model(hub)
    hub.misbehave(
        "name=model",
        at=1_000_000,
        call=lambda: time.sleep(0.15),
    )
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(download("ada/big"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 2
    assert same(folders[0], repo)
    assert len(hub.requests("name=model")) == 1


def test_sizes_are_asked_for_where_the_list_does_not_tell(hub: FakeHub) -> None:
    repo = demo(hub)
    hub.misbehave("/api/models/", unsized=True)
    hub.misbehave(MODEL, spoil=True, method="GET")
    assert same(download("ada/tiny"), repo)


def test_the_cache_serves_when_the_hub_cannot(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    repo = demo(hub)
    folder = download("ada/tiny")
    hub.misbehave("/api/models/", status=500, times=99)
    told: list[Progress] = []
    assert download("ada/tiny", task=Task(told.append)) == folder
    assert "Using the copy from an earlier download." in told[-1].words
    repo.private = True  # taken back by its owner: what is here stays usable
    hub.troubles.clear()
    assert download("ada/tiny") == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert download("ada/tiny") == folder
    assert tokenizer_files("ada/tiny") == folder
    with pytest.raises(UserError, match="is not on this disk"):
        download("ada/other")


def test_an_unfinished_update_leaves_the_old_one_usable(hub: FakeHub) -> None:
    repo = demo(hub)
    old = download("ada/tiny")
    repo.put({MODEL: os.urandom(50_000), "config.json": b'{"model_type": "llama"}'})
    hub.misbehave("name=model", status=403, times=9)
    with pytest.raises(UserError):
        download("ada/tiny")
    assert inspect_model("ada/tiny").folder == old


def test_the_tokenizer_alone(hub: FakeHub) -> None:
    demo(hub)
    folder = tokenizer_files("ada/tiny")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert not hub.requests("name=model")
    assert inspect_model("ada/tiny").folder is None  # not a whole model yet


def test_a_file_too_large_for_http_goes_through_the_library(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.hub.download.LARGEST", 1_000_000)
    repo = random_model(hub)
    told: list[Progress] = []
    assert same(download("ada/big", task=Task(told.append)), repo)
    assert told[-1].done == told[-1].total


def test_pickles_are_refused(hub: FakeHub) -> None:
    hub.model("ada/old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(UserError, match="hidden code"):
        download("ada/old")
    assert not hub.requests("pytorch_model")


@pytest.fixture
def small_disk(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache on a disk of 4 MiB."""
    from huggingface_hub import constants

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk needs the right to mount one")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(disk / "hub"))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_noticed_before(hub: FakeHub, small_disk: Path) -> None:
    random_model(hub, num_bytes=5_000_000)
    with pytest.raises(UserError) as caught:
        download("ada/big")
    assert caught.value.what == "The download needs 5 MiB, and only 4 MiB are free where it would go."
    assert str(small_disk) in caught.value.where
    assert "HF_HOME" in caught.value.fix
    assert not hub.requests("name=model")


def test_a_disk_that_fills_up_in_the_middle(hub: FakeHub, small_disk: Path) -> None:
    repo = random_model(hub, num_bytes=3_000_000)
    filler = small_disk / "filler"
    hub.misbehave("name=model", at=1_500_000, call=lambda: filler.write_bytes(b"x" * 2_400_000))
    with pytest.raises(UserError, match="disk is full"):
        download("ada/big")
    assert not parts()
    assert not list(small_disk.rglob(MODEL))
    filler.unlink()
    assert same(download("ada/big"), repo)


def test_a_read_only_cache_serves(hub: FakeHub, small_disk: Path) -> None:
    repo = random_model(hub)
    folder = download("ada/big")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert download("ada/big") == folder
    repo.put({"config.json": b'{"model_type": "qwen3"}'})
    assert download("ada/big") == folder  # the update cannot be written; what is here serves


def test_a_cache_that_cannot_be_written(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    random_model(hub)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(UserError, match="cannot be written") as caught:
        download("ada/big")
    assert "HF_HOME" in caught.value.fix
