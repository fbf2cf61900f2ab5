"""Container limits, read from copies of the files the kernel shows in real containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.machine.cgroup import ContainerLimits
from engine.machine.host import cores_usable

GIB = 2**30


class Kernel:
    """Writes /proc and /sys/fs/cgroup below a folder."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.groups = root / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self._mounts: list[str] = []

    def mount(self, filesystem: str, folder: str, root: str = "/", options: str = "rw") -> Path:
        point = self.groups / folder
        point.mkdir(parents=True, exist_ok=True)
        number = 30 + len(self._mounts)
        self._mounts.append(
            f"{number} 25 0:{number} {root} {point} rw,nosuid - {filesystem} cgroup {options}"
        )
        (self.proc / "self/mountinfo").write_text("\n".join(self._mounts) + "\n")
        return point

    def own(self, *lines: str) -> None:
        (self.proc / "self/cgroup").write_text("\n".join(lines) + "\n")

    def limits(self) -> ContainerLimits:
        return ContainerLimits(self.proc)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_version_2_inside_a_container(kernel: Kernel) -> None:
    group = kernel.mount("cgroup2", ".")
    kernel.own("0::/")
    write(
        group,
        memory__max=str(16 * GIB),
        memory__current=str(10 * GIB),
        memory__stat=f"anon {3 * GIB}\nfile {7 * GIB}\ninactive_file {4 * GIB}\nactive_file {2 * GIB}\nslab 5",
        cpu__max="765000 100000",
    )
    limits = kernel.limits()
    # Of the 10 GiB in use, 6 are file pages that the kernel gives back.
    assert limits.memory() == (16 * GIB, 12 * GIB)
    assert limits.cpu_quota() == 7.65


def test_version_2_limit_of_a_parent_counts(kernel: Kernel) -> None:
    group = kernel.mount("cgroup2", ".")
    kernel.own("0::/user.slice/session.scope")
    write(group / "user.slice", memory__max=str(8 * GIB), memory__current=str(7 * GIB), cpu__max="max 100000")
    write(
        group / "user.slice/session.scope",
        memory__max="max",
        memory__current=str(GIB),
        cpu__max="150000 100000",
    )
    assert kernel.limits().memory() == (8 * GIB, GIB)
    assert kernel.limits().cpu_quota() == 1.5


def test_tightest_limit_and_least_room_may_be_on_different_levels(kernel: Kernel) -> None:
    group = kernel.mount("cgroup2", ".")
    kernel.own("0::/a/b")
    write(group / "a", memory__max=str(32 * GIB), memory__current=str(31 * GIB))
    write(group / "a/b", memory__max=str(8 * GIB), memory__current=str(2 * GIB))
    assert kernel.limits().memory() == (8 * GIB, GIB)


def test_version_1_in_docker_without_its_own_namespace(kernel: Kernel) -> None:
    memory = kernel.mount("cgroup", "memory", "/docker/abc", "rw,memory")
    cpu = kernel.mount("cgroup", "cpu,cpuacct", "/docker/abc", "rw,cpu,cpuacct")
    kernel.own("5:memory:/docker/abc", "4:cpu,cpuacct:/docker/abc", "0::/docker/abc")
    write(
        memory,
        memory__limit_in_bytes=str(4 * GIB),
        memory__usage_in_bytes=str(3 * GIB),
        memory__stat=f"cache {GIB}\ntotal_inactive_file {GIB // 2}\ntotal_active_file {GIB // 2}",
    )
    write(cpu, cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert kernel.limits().memory() == (4 * GIB, 2 * GIB)
    assert kernel.limits().cpu_quota() == 2.0


def test_version_1_without_limits(kernel: Kernel) -> None:
    memory = kernel.mount("cgroup", "memory", "/", "rw,memory")
    cpu = kernel.mount("cgroup", "cpu", "/", "rw,cpu")
    kernel.own("5:memory:/", "4:cpu:/")
    write(memory, memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="123")
    write(cpu, cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert kernel.limits().memory() is None
    assert kernel.limits().cpu_quota() is None


def test_usage_above_the_limit_leaves_nothing(kernel: Kernel) -> None:
    group = kernel.mount("cgroup2", ".")
    kernel.own("0::/")
    write(group, memory__max=str(GIB), memory__current=str(2 * GIB))
    assert kernel.limits().memory() == (GIB, 0)


def test_group_outside_the_view_of_the_container(kernel: Kernel) -> None:
    group = kernel.mount("cgroup2", ".")
    kernel.own("0::/../../other")
    write(group, memory__max=str(2 * GIB), memory__current="0")
    assert kernel.limits().memory() == (2 * GIB, 2 * GIB)


@pytest.mark.parametrize("text", ["", "0::", "garbage", "5:memory", "0::/missing/group"])
def test_odd_group_files_mean_no_limit(kernel: Kernel, text: str) -> None:
    group = kernel.mount("cgroup2", ".")
    kernel.own(text)
    write(group, memory__max="many", cpu__max="100000 0", memory__stat="odd")
    assert kernel.limits().memory() is None
    assert kernel.limits().cpu_quota() is None


def test_no_proc_at_all(tmp_path: Path) -> None:
    limits = ContainerLimits(tmp_path / "nowhere")
    assert limits.memory() is None
    assert limits.cpu_quota() is None


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [(16, None, 16), (16, 7.65, 7), (16, 0.5, 1), (4, 32.0, 4), (1, 1.0, 1)],
)
def test_usable_cores(affinity: int, quota: float | None, expected: int) -> None:
    assert cores_usable(affinity, quota) == expected
