"""Disks: which file systems are listed, and whether what is on them survives."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engine.machine.disks import find_disks, persistence, places
from engine.machine.mounts import Mount, read_mounts
from engine.machine.pod import detect_pod

GIB = 2**30


def mount(point: str, filesystem: str = "ext4", source: str = "/dev/sda1") -> Mount:
    return Mount("/", Path(point), filesystem, source, ("rw",))


ROOT = mount("/", "overlay", "overlay")


def test_places_follow_the_environment(tmp_path: Path) -> None:
    mounts = [ROOT, mount("/workspace"), mount("/mnt/nvme"), mount("/etc/hosts"), mount("/boot")]
    found = dict(places(tmp_path / "runs", {"HF_HOME": "/big/hf", "TMPDIR": "/fast"}, tmp_path, mounts))
    assert found["runs"] == tmp_path / "runs"
    assert found["model cache"] == Path("/big/hf/hub")
    assert found["temporary files"] == Path("/fast")
    volumes = [folder for use, folder in places(None, {}, tmp_path, mounts) if use == "volume"]
    assert volumes == [Path("/workspace"), Path("/mnt/nvme")]
    assert dict(places(None, {}, tmp_path, []))["model cache"] == tmp_path / ".cache/huggingface/hub"
    assert dict(places(None, {"HF_HUB_CACHE": "/h"}, tmp_path, []))["model cache"] == Path("/h")


def test_folders_on_one_file_system_are_one_disk(tmp_path: Path) -> None:
    wanted = [("runs", tmp_path / "not/yet/there"), ("model cache", tmp_path), ("temporary files", tmp_path)]
    (disk,) = find_disks(wanted, read_mounts())
    facts = os.statvfs(tmp_path)
    assert disk.path == tmp_path / "not/yet/there"
    assert disk.uses == ("runs", "model cache", "temporary files")
    assert disk.total == facts.f_frsize * facts.f_blocks
    assert abs(disk.free - facts.f_frsize * facts.f_bavail) < GIB
    assert disk.writable
    assert disk.free_reliable
    assert disk.filesystem not in ("", "unknown")


def test_memory_disk_is_another_disk_and_not_kept(tmp_path: Path) -> None:
    first, second = find_disks([("runs", tmp_path), ("model cache", Path("/dev/shm"))], read_mounts())
    assert first.uses == ("runs",)
    assert (second.mount, second.filesystem, second.persistent) == (Path("/dev/shm"), "tmpfs", False)
    assert "RAM" in second.note


def test_link_counts_where_it_leads(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/shm")
    (disk,) = find_disks([("runs", link / "runs")], read_mounts())
    assert disk.path == link / "runs"
    assert disk.mount == Path("/dev/shm")


def test_unwritable_folder(tmp_path: Path) -> None:
    (disk,) = find_disks([("runs", Path("/proc/finetui"))], read_mounts())
    assert not disk.writable or os.geteuid() == 0
    assert disk.mount == Path("/proc")


def test_cluster_size_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = os.statvfs_result((4096, 4096, 404 * 2**28, 116 * 2**28, 116 * 2**28, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: huge)
    (disk,) = find_disks([("runs", tmp_path)], [mount("/", "fuse", "mfs#x.runpod.net:9421")])
    assert disk.total == 404 * 2**40
    assert not disk.free_reliable
    assert "whole storage cluster" in disk.note


def test_server_that_does_not_answer_is_listed_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs
    dead = tmp_path / "dead"
    dead.mkdir()

    def hang(path: Path) -> os.statvfs_result:
        if path == dead:
            time.sleep(3)
        return real(path)

    monkeypatch.setattr(os, "statvfs", hang)
    found = find_disks(
        [("runs", dead), ("model cache", tmp_path)], [mount("/"), mount(str(dead), "nfs4", "server:/x")]
    )
    silent, healthy = found
    assert (silent.total, silent.uses, silent.filesystem) == (0, ("runs",), "nfs4")
    assert "not answer" in silent.note
    assert healthy.total > 0


@pytest.mark.parametrize(
    ("path", "where", "container", "expected", "words"),
    [
        ("/home/me", mount("/"), None, True, "Ordinary disk"),
        ("/root", ROOT, "docker", False, "Container disk"),
        ("/data", mount("/data", "xfs"), "docker", True, "outlives the container"),
        ("/data", mount("/data", "nfs4"), None, True, "Network volume"),
        ("/tmp", mount("/tmp", "tmpfs"), None, False, "RAM"),
        ("/x", None, None, None, "cannot be told"),
    ],
)
def test_persistence_without_a_provider(
    path: str, where: Mount | None, container: str | None, expected: bool | None, words: str
) -> None:
    kept, note = persistence(Path(path), where, container, None)
    assert kept is expected
    assert words in note


@pytest.mark.parametrize(
    ("variable", "path", "where", "expected"),
    [
        ("RUNPOD_POD_ID", "/workspace/runs", "/workspace", True),
        ("RUNPOD_POD_ID", "/root/.cache", "/", False),
        ("VAST_CONTAINERLABEL", "/workspace/runs", "/", True),
        ("AutoDLContainerUUID", "/root/autodl-tmp/hf", "/root/autodl-tmp", True),
        ("AutoDLContainerUUID", "/root/.cache", "/", True),
        ("PAPERSPACE_FQDN", "/storage/x", "/storage", True),
        ("PAPERSPACE_FQDN", "/tmp/x", "/", False),
        ("KAGGLE_URL_BASE", "/kaggle/working", "/kaggle/working", False),
        ("COLAB_GPU", "/content/drive/MyDrive", "/content/drive", True),
        ("COLAB_GPU", "/content/x", "/", False),
        ("LIGHTNING_CLOUD_PROJECT_ID", "/teamspace/studios/this_studio", "/", True),
    ],
)
def test_persistence_by_the_rules_of_the_provider(
    tmp_path: Path, variable: str, path: str, where: str, expected: bool
) -> None:
    mounts = [ROOT] if where == "/" else [ROOT, mount(where, "ext4")]
    pod = detect_pod({variable: "x"}, mounts, tmp_path)
    kept, note = persistence(Path(path), mounts[-1], "docker", pod)
    assert kept is expected
    assert note.endswith(".")
