"""What the memory events tell of the cards and of main memory, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.display import GIB, printable
from engine.run.events import Event
from tui.monitor.values import finite
from tui.plot import Series


@dataclass(frozen=True, slots=True)
class GpuNow:
    """The newest numbers of one card; None where it does not say. Memory in GiB."""

    label: str
    used: float | None
    total: float | None
    utilization: float | None
    temperature: float | None
    power: float | None
    problem: str


@dataclass(frozen=True, slots=True)
class RamNow:
    """The newest numbers of main memory in GiB."""

    trainer: float | None
    used: float | None
    total: float | None


class Hardware:
    """Fed with memory events. The x of every curve is seconds of work; memory is in GiB.

    Attributes:
        gpus: Each card now; None before the first sample.
        ram: Main memory now.
        used: Memory in use on the fullest card, other programs included.
        reserved: What PyTorch keeps from the driver.
        allocated: What PyTorch's tensors hold.
        peak_allocated: The most that they held so far.
        peak_reserved: The most that was kept so far.
        busy: Share of the time the cards computed, per cent; every card is a point.
        temperature: Of the hottest card in degrees Celsius.
        power: Of all cards together in watts.
        trainer_ram: Main memory of the trainer.
        machine_ram: Main memory in use by all programs.
    """

    def __init__(self) -> None:
        self.gpus: tuple[GpuNow, ...] | None = None
        self.ram: RamNow | None = None
        self.peak_allocated: float | None = None
        self.peak_reserved: float | None = None
        self.used = Series("used")
        self.reserved = Series("reserved")
        self.allocated = Series("allocated")
        self.busy = Series("GPU busy")
        self.temperature = Series("temperature")
        self.power = Series("power")
        self.trainer_ram = Series("trainer")
        self.machine_ram = Series("all")

    @property
    def limit(self) -> float | None:
        """Memory in GiB of the card that is fullest; None without a card that tells."""
        card = fullest(self.gpus or ())
        return card.total if card else None

    def feed(self, event: Event, seconds: float) -> None:
        """Take one memory event.

        Args:
            event: As it stands in the file.
            seconds: Work until then.
        """
        told = event.get("gpus")
        gpus = self.gpus = tuple(
            _gpu(gpu, position) for position, gpu in enumerate(told if isinstance(told, list) else ())
        )
        self.ram = RamNow(
            _gib(event.get("process_rss")), _gib(event.get("host_used")), _gib(event.get("host_total"))
        )
        self.peak_allocated = _higher(self.peak_allocated, _gib(event.get("torch_peak_allocated")))
        self.peak_reserved = _higher(self.peak_reserved, _gib(event.get("torch_peak_reserved")))
        card = fullest(gpus)
        powers = [gpu.power for gpu in gpus if gpu.power is not None]
        points = [
            (self.used, card.used if card else None),
            (self.reserved, _gib(event.get("torch_reserved"))),
            (self.allocated, _gib(event.get("torch_allocated"))),
            *((self.busy, gpu.utilization) for gpu in gpus),
            (self.temperature, max((g.temperature for g in gpus if g.temperature is not None), default=None)),
            (self.power, sum(powers) if powers else None),
            (self.trainer_ram, self.ram.trainer),
            (self.machine_ram, self.ram.used),
        ]
        for series, value in points:
            if value is not None:
                series.append(seconds, value)


def fullest(gpus: tuple[GpuNow, ...]) -> GpuNow | None:
    """The card with the largest share of its memory in use: the one that runs out first."""
    telling = [gpu for gpu in gpus if gpu.used is not None and gpu.total and not gpu.problem]
    return max(telling, key=lambda gpu: (gpu.used or 0.0) / (gpu.total or 1.0), default=None)


def _higher(before: float | None, value: float | None) -> float | None:
    return value if before is None or (value is not None and value > before) else before


def _gib(value: Any) -> float | None:
    found = finite(value)
    return found / GIB if found is not None else None


def _gpu(gpu: Any, position: int) -> GpuNow:
    if not isinstance(gpu, dict):
        gpu = {"problem": "it cannot be read"}
    index = finite(gpu.get("index"))
    label = f"GPU {position if index is None else index:.0f}"
    if (slice_index := finite(gpu.get("mig_index"))) is not None:
        label += f" slice {slice_index:.0f}"
    total = _gib(gpu.get("memory_total")) or None
    return GpuNow(
        label=label,
        used=_gib(gpu.get("memory_used")) if total else None,
        total=total,
        utilization=finite(gpu.get("utilization")),
        temperature=finite(gpu.get("temperature")),
        power=finite(gpu.get("power_watts")),
        problem=printable(gpu.get("problem") or "", 200),
    )
