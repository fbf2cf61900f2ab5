"""Looks at the machine once (``probe``) or again and again while training runs (``Sampler``)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.machine.cgroup import ContainerLimits
from engine.machine.disks import find_disks, places
from engine.machine.host import container_kind, memory, read_host
from engine.machine.model import Machine, MemorySample
from engine.machine.mounts import read_mounts
from engine.machine.nvml import Nvml
from engine.machine.pod import detect_pod


def probe(run_home: Path | None = None, environ: Mapping[str, str] | None = None) -> Machine:
    """Everything about this machine; never raises for what the machine lacks and takes no GPU memory.

    Args:
        run_home: Where runs are or will be kept; its disk is listed first.
        environ: The environment to look at; this process's own by default.
    """
    environ = os.environ if environ is None else environ
    mounts = read_mounts()
    limits = ContainerLimits()
    container = container_kind(environ, mounts)
    pod = detect_pod(environ, mounts)
    nvml = Nvml(environ, host_memory=_host_memory(limits))
    try:
        state, gpus = nvml.state, nvml.sample()
    finally:
        nvml.close()
    return Machine(
        host=read_host(limits),
        gpus=gpus,
        gpu_state=state,
        disks=find_disks(places(run_home, environ, Path.home(), mounts), mounts, container, pod),
        container=container,
        pod=pod,
        cuda_visible_devices=environ.get("CUDA_VISIBLE_DEVICES"),
    )


class Sampler:
    """Takes memory samples of the visible GPUs, the host and one process tree.

    Make one and call ``sample`` from any one thread every second or two; the driver is asked at most once
    a second however often it is called.

    Args:
        pid: The process whose tree is measured, such as the trainer; this process by default.
        clock: Wall clock in seconds.
        nvml: A session to share; a new one by default.
    """

    def __init__(
        self, pid: int | None = None, clock: Callable[[], float] = time.time, nvml: Nvml | None = None
    ) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._clock = clock
        self._limits = ContainerLimits()
        self._nvml = nvml or Nvml(host_memory=_host_memory(self._limits))

    @property
    def nvml(self) -> Nvml:
        """The NVML session, whose ``state`` says why there is no GPU in the samples."""
        return self._nvml

    def sample(self) -> MemorySample:
        """Memory now. Never raises: what cannot be read is None or missing."""
        total, available, _ = memory(self._limits)
        rss, count = process_tree_rss(self._pid)
        return MemorySample(
            t=self._clock(),
            gpus=tuple(gpu for gpu in self._nvml.sample() if gpu.visible),
            host_used=max(0, total - available),
            host_total=total,
            process_rss=rss,
            num_processes=count,
        )

    def close(self) -> None:
        """End the NVML session."""
        self._nvml.close()


def process_tree_rss(pid: int) -> tuple[int | None, int]:
    """Resident bytes of a process and all below it, and their number; ``(None, 0)`` when it is gone."""
    import psutil

    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None, 0
    sizes = []
    for process in tree:
        try:
            sizes.append(process.memory_info().rss)
        except psutil.Error:
            continue
    return (sum(sizes), len(sizes)) if sizes else (None, 0)


def _host_memory(limits: ContainerLimits) -> Callable[[], tuple[int, int]]:
    def read() -> tuple[int, int]:
        total, available, _ = memory(limits)
        return total, available

    return read
