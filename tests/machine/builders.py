"""Machines made by hand, for tests that need no driver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.machine import Disk, Gpu, GpuState, Host, Machine
from engine.machine.software import Software

GIB = 2**30

HOST = Host(
    system="Linux 6.8 x86_64",
    cpu_name="AMD EPYC 7763",
    cores_physical=8,
    cores_logical=16,
    cores_usable=16,
    cpu_quota=None,
    ram_total=64 * GIB,
    ram_available=60 * GIB,
    ram_limited=False,
    swap_total=0,
    shm_total=32 * GIB,
    load_average=(0.1, 0.1, 0.1),
)
CARD = Gpu(
    index=0,
    uuid="GPU-1111",
    card_uuid="GPU-1111",
    name="NVIDIA GeForce RTX 4090",
    memory_total=24 * GIB,
    memory_used=2**20,
    memory_free=24 * GIB - 360 * 2**20,
    memory_reserved=359 * 2**20,
    memory_reported=True,
    utilization=0,
    temperature=40,
    compute_capability=(8, 9),
)
DISK = Disk(
    path=Path("/home/me/runs"),
    mount=Path("/"),
    total=500 * GIB,
    free=300 * GIB,
    filesystem="ext4",
    persistent=True,
    note="Ordinary disk.",
    uses=("runs", "model cache"),
)
PACKAGES: dict[str, str | None] = {
    "torch": "2.13.0+cu126",
    "transformers": "5.23.0",
    "trl": "1.16.0",
    "peft": "0.21.2",
    "datasets": "5.2.0",
    "accelerate": "1.15.0",
    "bitsandbytes": "0.50.2",
}
SOFTWARE = Software(
    python="3.11.7",
    packages=PACKAGES,
    torch_cuda=(12, 6),
    torch_other=None,
    requirements={"trl": ">=1.16,<1.17"},
    bitsandbytes_cuda=((11, 8), (12, 6), (12, 8), (13, 0)),
)


def machine(
    *gpus: Gpu,
    cuda: tuple[int, int] | None = (12, 6),
    host: Host = HOST,
    disks: tuple[Disk, ...] = (DISK,),
    cuda_visible_devices: str | None = None,
) -> Machine:
    """A healthy machine with these GPUs; without any, one that has no NVIDIA driver."""
    state = GpuState("ok", "NVIDIA driver 560.35.", "", "560.35.05", cuda)
    if not gpus:
        state = GpuState("no_driver", "No NVIDIA GPU was found.", card_seen=False)
    return Machine(host, gpus, state, disks, None, None, cuda_visible_devices)


def with_packages(**versions: str | None) -> Software:
    """``SOFTWARE`` with other versions installed."""
    return replace(SOFTWARE, packages={**PACKAGES, **versions})
