"""CPU, RAM, container and the provider around them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from engine.machine.cgroup import ContainerLimits
from engine.machine.host import container_kind, cpu_name, memory, read_host
from engine.machine.mounts import Mount, mount_of, read_mounts
from engine.machine.pod import detect_pod

GIB = 2**30


def mount(point: str, filesystem: str = "ext4", source: str = "/dev/sda1") -> Mount:
    return Mount("/", Path(point), filesystem, source, ("rw",))


class Limited(ContainerLimits):
    """A container that allows this much memory and has this much left."""

    def __init__(self, limit: int, room: int) -> None:
        self._answer = limit, room

    def memory(self) -> tuple[int, int]:
        return self._answer


def test_this_host() -> None:
    host = read_host()
    assert 1 <= host.cores_usable <= host.cores_logical == psutil.cpu_count()
    assert 0 < host.ram_available <= host.ram_total <= psutil.virtual_memory().total
    assert host.ram_used == host.ram_total - host.ram_available
    assert host.cpu_name


def test_affinity_counts() -> None:
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert read_host().cores_usable == 1
    finally:
        os.sched_setaffinity(0, mine)


def test_container_limit_below_the_ram_counts() -> None:
    assert memory(Limited(GIB // 2, GIB // 4)) == (GIB // 2, GIB // 4, True)
    physical = psutil.virtual_memory().total
    total, available, limited = memory(Limited(physical * 2, physical))
    assert (total, limited) == (physical, False)
    assert available <= physical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) @ 2.00GHz\n", "Intel(R) Xeon(R) @ 2.00GHz"),
        ("model name\t: Evil\x1b[2JCPU\n", "Evil\\x1b[2JCPU"),
    ],
)
def test_cpu_name(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_name(tmp_path) == expected


def test_cpu_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 2000.00\nCPU part\t: 0xd4f\n")
    assert cpu_name(tmp_path)
    assert cpu_name(tmp_path / "missing")


@pytest.mark.parametrize(
    ("environ", "files", "mounts", "expected"),
    [
        ({}, {}, [mount("/")], None),
        ({}, {".dockerenv": ""}, [], "docker"),
        ({}, {"run/.containerenv": ""}, [], "podman"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {".dockerenv": ""}, [], "kubernetes"),
        ({"container": "systemd-nspawn"}, {}, [], "systemd-nspawn"),
        ({"APPTAINER_NAME": "x.sif"}, {}, [], "apptainer"),
        ({}, {"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"}, [], "kubernetes"),
        ({}, {"proc/1/cgroup": "0::/lxc.payload/x\n"}, [], "lxc"),
        ({}, {"proc/1/cgroup": "0::/init.scope\n"}, [mount("/", "overlay", "overlay")], "container"),
    ],
)
def test_container_kind(
    tmp_path: Path, environ: dict[str, str], files: dict[str, str], mounts: list[Mount], expected: str | None
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert container_kind(environ, mounts, tmp_path) == expected


def test_mountinfo_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "40 22 0:50 /sub /mnt/my\\040disk rw - nfs4 server:/a\\134b rw,vers=4\n"
        "broken line\n"
        "41 22 0:51 / /mnt rw - tmpfs tmpfs rw\n"
    )
    mounts = read_mounts(tmp_path)
    assert [str(item.point) for item in mounts] == ["/", "/mnt/my disk", "/mnt"]
    assert mounts[1] == Mount("/sub", Path("/mnt/my disk"), "nfs4", "server:/a\\b", ("rw", "vers=4"))
    assert mount_of(Path("/mnt/my disk/x"), mounts) == mounts[1]
    assert mount_of(Path("/mnt/my diskette"), mounts) == mounts[2]
    assert mount_of(Path("/home/me"), mounts) == mounts[0]
    assert mount_of(Path("/x"), []) is None


def test_later_mount_hides_an_earlier_one() -> None:
    covered, covering = mount("/data"), mount("/data", "xfs", "/dev/sdb1")
    assert mount_of(Path("/data/x"), [mount("/"), covered, covering]) == covering


class Sealed(Mapping[str, str]):
    """An environment whose values nobody may read."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getitem__(self, name: str) -> str:
        raise AssertionError(f"the value of {name} was read")

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@pytest.mark.parametrize(
    ("variable", "provider"),
    [
        ("RUNPOD_POD_ID", "runpod"),
        ("VAST_CONTAINERLABEL", "vast"),
        ("AutoDLContainerUUID", "autodl"),
        ("PAPERSPACE_FQDN", "paperspace"),
        ("KAGGLE_KERNEL_RUN_TYPE", "kaggle"),
        ("COLAB_RELEASE_TAG", "colab"),
        ("LIGHTNING_CLOUD_PROJECT_ID", "lightning"),
    ],
)
def test_provider_by_variable_without_reading_it(tmp_path: Path, variable: str, provider: str) -> None:
    pod = detect_pod(Sealed(variable, "RUNPOD_API_KEY", "HF_TOKEN"), [mount("/")], tmp_path)
    assert pod is not None
    assert pod.provider == provider
    assert variable in pod.evidence
    assert pod.billing


def test_api_key_alone_is_no_pod(tmp_path: Path) -> None:
    # People keep RUNPOD_API_KEY on their own machine too.
    assert detect_pod(Sealed("RUNPOD_API_KEY", "HF_TOKEN"), [mount("/")], tmp_path) is None


def test_provider_by_file_and_by_mount(tmp_path: Path) -> None:
    assert detect_pod({}, [], tmp_path) is None
    (tmp_path / "lambda/nfs").mkdir(parents=True)
    found = detect_pod({}, [], tmp_path)
    assert found is not None
    assert (found.provider, found.evidence) == ("lambda", "/lambda/nfs exists")
    network = mount("/workspace", "fuse", "mfs#us-md-1.runpod.net:9421")
    pod = detect_pod({}, [mount("/", "overlay"), network], tmp_path / "empty")
    assert pod is not None
    assert pod.provider == "runpod"
    assert [str(folder) for folder, _ in pod.kept] == ["/workspace"]


def test_workspace_that_is_no_volume_is_not_kept(tmp_path: Path) -> None:
    pod = detect_pod({"RUNPOD_POD_ID": "x"}, [mount("/", "overlay")], tmp_path)
    assert pod is not None
    assert pod.kept == ()
