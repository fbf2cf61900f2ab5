"""What a machine is, in numbers: every memory size is in bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engine.choice import Choice

GpuStateWord = Literal["ok", "no_devices", "no_driver", "mismatch", "too_old", "no_permission", "broken"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device a CUDA program can use: a whole card, or one MIG slice of a card.

    Attributes:
        index: Number of the card in NVML's order (PCI bus order, as in ``nvidia-smi``).
        mig_index: Number of the slice on its card; None for a whole card.
        uuid: ``GPU-...`` of a card, ``MIG-...`` of a slice.
        card_uuid: ``GPU-...`` of the card, also for a slice.
        memory_total: Memory of the device; system RAM where ``unified_memory``; 0 when nobody says.
        memory_used: In use by all programs together, without what the driver keeps for itself where it tells.
        memory_free: What a new program can have.
        memory_reserved: What the driver keeps for itself; 0 when it does not say.
        memory_reported: NVML gave the memory numbers of this device.
        unified_memory: CPU and GPU share one memory, so the numbers are those of system RAM.
        utilization: Percent of the last sampling period in which a kernel ran.
        temperature: Degrees Celsius of the chip (of the whole card for a slice).
        power_watts: Power drawn by the whole card.
        compute_capability: ``(8, 9)`` for 8.9.
        mig_mode: The card is cut into MIG slices.
        visible: A program started from this environment would see it (``CUDA_VISIBLE_DEVICES``).
        problem: Why it cannot be trained on now; None when it can.
        note: Anything else worth showing beside it.
    """

    index: int
    uuid: str
    name: str
    memory_total: int = 0
    memory_used: int = 0
    memory_free: int = 0
    memory_reserved: int = 0
    memory_reported: bool = False
    unified_memory: bool = False
    utilization: int | None = None
    temperature: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    compute_capability: tuple[int, int] | None = None
    mig_mode: bool = False
    mig_index: int | None = None
    card_uuid: str = ""
    visible: bool = True
    problem: str | None = None
    note: str | None = None

    @property
    def usable(self) -> bool:
        """Training could run on it now."""
        return self.visible and self.problem is None

    @property
    def label(self) -> str:
        """``GPU 0``, or ``GPU 0 slice 1`` for a MIG slice."""
        return f"GPU {self.index}" if self.mig_index is None else f"GPU {self.index} slice {self.mig_index}"

    def bf16(self) -> Choice[bool]:
        """Whether this device computes bfloat16 in hardware, and why."""
        return bf16_supported(self.compute_capability, self.name)


@dataclass(frozen=True, slots=True)
class GpuState:
    """Whether the NVIDIA driver answers, in words a beginner can act on.

    Attributes:
        cuda_driver_version: Newest CUDA the driver can run, ``(12, 4)`` for 12.4.
        message: One sentence.
        fix: What to do; empty when there is nothing to do.
        card_seen: An NVIDIA card or driver is there, so not being able to use it is a fault.
    """

    state: GpuStateWord
    message: str
    fix: str = ""
    driver_version: str | None = None
    cuda_driver_version: tuple[int, int] | None = None
    card_seen: bool = True


@dataclass(frozen=True, slots=True)
class Disk:
    """One file system and what finetui would keep on it.

    Attributes:
        path: The folder that was asked about (it may not exist yet).
        mount: Where the file system is mounted.
        total: Size; 0 when it did not answer.
        free: What an ordinary user may still write.
        free_reliable: False where the number is that of a whole storage cluster, not of this volume.
        persistent: Whether it outlives a stop of the machine; None when it cannot be told.
        note: The reason for ``persistent`` in words, and anything odd.
        uses: What lives here, such as ``("runs", "model cache")``.
    """

    path: Path
    mount: Path
    total: int
    free: int
    filesystem: str
    persistent: bool | None
    note: str
    uses: tuple[str, ...] = ()
    writable: bool = True
    free_reliable: bool = True


@dataclass(frozen=True, slots=True)
class Host:
    """CPU and RAM as this process may use them.

    Attributes:
        cores_physical: Real cores of the whole machine; None when it does not say.
        cores_logical: Hardware threads of the whole machine.
        cores_usable: Threads this process may keep busy: its affinity and the container's quota.
        cpu_quota: CPUs the container may use, such as 7.5; None without a limit.
        ram_total: Physical RAM, or the container's limit where that is smaller.
        ram_available: What a new program can take before something is killed.
        ram_limited: The container's limit is what counts, not the machine's RAM.
        swap_total: Swap space of the machine.
        shm_total: Size of ``/dev/shm``, which data workers and multi-GPU training use; None without one.
        load_average: Runnable processes over 1, 5 and 15 minutes; None where the system has none.
    """

    system: str
    cpu_name: str
    cores_physical: int | None
    cores_logical: int
    cores_usable: int
    cpu_quota: float | None
    ram_total: int
    ram_available: int
    ram_limited: bool
    swap_total: int
    shm_total: int | None
    load_average: tuple[float, float, float] | None

    @property
    def ram_used(self) -> int:
        """RAM in use that cannot simply be given back."""
        return max(0, self.ram_total - self.ram_available)


@dataclass(frozen=True, slots=True)
class Pod:
    """The service this machine is rented from.

    Attributes:
        provider: Key such as ``runpod``.
        name: As the provider writes itself.
        evidence: What gave it away; names of variables and files only, never a value.
        kept: Folders that survive, with the words for it.
        elsewhere_persistent: Whether everything else survives a stop.
        elsewhere: The words for everything else.
        billing: When the meter stops.
    """

    provider: str
    name: str
    evidence: str
    kept: tuple[tuple[Path, str], ...]
    elsewhere_persistent: bool
    elsewhere: str
    billing: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything finetui knows about where it runs."""

    host: Host
    gpus: tuple[Gpu, ...]
    gpu_state: GpuState
    disks: tuple[Disk, ...]
    container: str | None
    pod: Pod | None
    cuda_visible_devices: str | None = None

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        """The devices training could run on now."""
        return tuple(gpu for gpu in self.gpus if gpu.usable)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``: paths as text, versions as ``"12.4"``."""
        result: dict[str, Any] = _plain(asdict(self))
        for gpu, plain in zip(self.gpus, result["gpus"], strict=True):
            plain["compute_capability"] = version_text(gpu.compute_capability)
            plain["bf16"] = gpu.bf16().value
            plain["usable"] = gpu.usable
        result["gpu_state"]["cuda_driver_version"] = version_text(self.gpu_state.cuda_driver_version)
        return result


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Memory at one moment, for the monitor's chart.

    Attributes:
        t: Seconds since 1970.
        gpus: The visible devices with their live numbers.
        host_used: RAM in use on the machine, or in the container where it has its own limit.
        process_rss: Resident memory of the sampled process and its children; pages that forked children
            share are counted once per child. None when the process is gone.
        num_processes: How many processes that is.
    """

    t: float
    gpus: tuple[Gpu, ...]
    host_used: int
    host_total: int
    process_rss: int | None
    num_processes: int

    def to_dict(self) -> dict[str, Any]:
        """The body of a ``memory`` event: short, because one is written every second or two."""
        gpus = [
            {
                "index": gpu.index,
                "mig_index": gpu.mig_index,
                "memory_used": gpu.memory_used,
                "memory_total": gpu.memory_total,
                "utilization": gpu.utilization,
                "temperature": gpu.temperature,
                "power_watts": gpu.power_watts,
                "problem": gpu.problem,
            }
            for gpu in self.gpus
        ]
        return {
            "t": self.t,
            "gpus": gpus,
            "host_used": self.host_used,
            "host_total": self.host_total,
            "process_rss": self.process_rss,
            "num_processes": self.num_processes,
        }


def version_text(version: tuple[int, int] | None) -> str | None:
    """``(12, 4)`` as ``"12.4"``."""
    return None if version is None else f"{version[0]}.{version[1]}"


def bf16_supported(capability: tuple[int, int] | None, name: str = "This GPU") -> Choice[bool]:
    """Whether a GPU of this compute capability computes bfloat16 in hardware.

    Tensor cores have bfloat16 since Ampere, compute capability 8.0 (CUDA programming guide,
    arithmetic instructions); older cards emulate it slowly or refuse.
    """
    if capability is None:
        return Choice(False, f"{name} does not say its generation, so fp16 is the safe choice.", (True,))
    text = version_text(capability)
    if capability >= (8, 0):
        return Choice(True, f"{name} has compute capability {text}; bf16 needs 8.0 or newer.", (False,))
    return Choice(
        False,
        f"{name} has compute capability {text}, older than the 8.0 that bf16 needs, so fp16 is used.",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
