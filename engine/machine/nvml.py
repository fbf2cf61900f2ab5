"""NVIDIA's management library, asked so that every trouble becomes a state that can be shown.

Nothing here takes GPU memory: NVML talks to the driver and opens no CUDA context.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.display import gib, printable
from engine.machine.model import Gpu, GpuState
from engine.machine.nvml_trouble import (
    FUNCTION_NOT_FOUND,
    NOT_SUPPORTED,
    UNKNOWN,
    device_trouble,
    is_lost,
    session_trouble,
)
from engine.machine.visible import visible_positions

# Devices known to share one memory with the CPU; their driver answers "not supported" when asked for it.
_UNIFIED_NAMES = re.compile(r"\b(GB10|DGX Spark|Orin|Xavier|Thor|Tegra|Jetson|N1X?)\b", re.IGNORECASE)
_ADDRESSING_MODE_ATS = 2


@dataclass(frozen=True, slots=True)
class _Device:
    """A handle with everything that does not change; a slice takes temperature and power from its card."""

    handle: Any
    card: Any
    facts: Gpu


class Nvml:
    """One NVML session: lists the devices once, then samples them at most once a second.

    No method raises; what goes wrong is in ``state`` or in ``Gpu.problem``. Safe to share between threads.

    Args:
        environ: Where ``CUDA_VISIBLE_DEVICES`` is looked up.
        clock: Seconds that only grow.
        interval: Shortest time between two questions to the driver, in seconds.
        host_memory: Gives ``(total, available)`` system RAM in bytes, for devices that share it.
        root: Where ``/`` is, for ``/proc/driver/nvidia`` and ``/sys/bus/pci``.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 1.0,
        host_memory: Callable[[], tuple[int, int]] | None = None,
        root: Path = Path("/"),
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._interval = interval
        self._host_memory = host_memory or _system_memory
        self._root = root
        self._lock = threading.Lock()
        self._library: Any = None
        self._state: GpuState | None = None
        self._devices: tuple[_Device, ...] = ()
        self._sampled: tuple[Gpu, ...] = ()
        self._sampled_at: float | None = None

    @property
    def state(self) -> GpuState:
        """Whether the driver answers; the first use opens the session."""
        with self._lock:
            return self._open()

    def sample(self) -> tuple[Gpu, ...]:
        """All devices with their present numbers; the last answer again when asked too soon."""
        with self._lock:
            if self._open().state != "ok":
                return ()
            now = self._clock()
            if self._sampled_at is None or now - self._sampled_at >= self._interval:
                self._sampled = tuple(self._read(device) for device in self._devices)
                self._sampled_at = now
            return self._sampled

    def close(self) -> None:
        """End the session; a later use opens a new one."""
        with self._lock:
            if self._state is not None and self._state.state in ("ok", "no_devices"):
                self._ask("nvmlShutdown")
            self._state, self._devices, self._sampled_at = None, (), None

    def _open(self) -> GpuState:
        if self._state is None:
            self._state = self._start()
        return self._state

    def _start(self) -> GpuState:
        try:
            import pynvml
        except Exception as error:
            return GpuState(
                "broken",
                "The Python package nvidia-ml-py, which asks the driver, cannot be loaded: "
                f"{printable(error, 200)}.",
                "Install it again with: pip install --force-reinstall nvidia-ml-py",
            )
        self._library = pynvml
        _, code = self._ask("nvmlInit")
        if code:
            library, _ = self._ask("nvmlSystemGetNVMLVersion")
            return session_trouble(code, self._root, None if library is None else printable(library, 40))
        driver, _ = self._ask("nvmlSystemGetDriverVersion")
        driver = None if driver is None else printable(driver, 40)
        cuda, code = self._ask("nvmlSystemGetCudaDriverVersion_v2")
        if code:
            cuda, _ = self._ask("nvmlSystemGetCudaDriverVersion")
        # NVML writes 12.4 as 12040.
        cuda_version = None if cuda is None else (cuda // 1000, cuda % 1000 // 10)
        count, code = self._ask("nvmlDeviceGetCount")
        if code:
            return replace(
                session_trouble(code, self._root, None),
                driver_version=driver,
                cuda_driver_version=cuda_version,
            )
        devices = [device for index in range(count) for device in self._find(index)]
        shown = set(
            visible_positions(
                self._environ.get("CUDA_VISIBLE_DEVICES"), [device.facts for device in devices], driver
            )
        )
        self._devices = tuple(
            replace(device, facts=replace(device.facts, visible=position in shown))
            for position, device in enumerate(devices)
        )
        if not devices:
            return GpuState(
                "no_devices",
                "The NVIDIA driver works but reports no GPU.",
                "In a container, start it with access to the GPU (docker run --gpus all). On a "
                "rented machine, "
                "check on the provider's page that a GPU is attached.",
                driver,
                cuda_version,
            )
        message = f"NVIDIA driver {driver or 'of unknown version'}"
        if cuda_version is not None:
            message += f", able to run CUDA up to {cuda_version[0]}.{cuda_version[1]}"
        return GpuState("ok", message + ".", "", driver, cuda_version)

    def _find(self, index: int) -> list[_Device]:
        """The card with this number, or its MIG slices when it is cut into slices."""
        handle, code = self._ask("nvmlDeviceGetHandleByIndex", index)
        if code:
            return [_Device(None, None, Gpu(index, "", f"GPU {index}", problem=device_trouble(code)))]
        card = self._facts(handle, Gpu(index, "", f"GPU {index}"))
        capability, _ = self._ask("nvmlDeviceGetCudaComputeCapability", handle)
        limit, _ = self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        mig, _ = self._ask("nvmlDeviceGetMigMode", handle)
        card = replace(
            card,
            card_uuid=card.uuid,
            compute_capability=capability,
            power_limit_watts=_watts(limit),
            mig_mode=bool(mig and mig[0]),
        )
        if not card.mig_mode:
            return [_Device(handle, handle, card)]
        most, _ = self._ask("nvmlDeviceGetMaxMigDeviceCount", handle)
        slices = []
        for mig_index in range(most or 0):
            part, code = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, mig_index)
            if not code:
                facts = self._facts(part, replace(card, name=f"{card.name} MIG", mig_index=mig_index))
                slices.append(_Device(part, handle, facts))
        if slices:
            return slices
        problem = (
            "This card is in MIG mode (cut into slices) but no slice exists here, so CUDA programs "
            "cannot use it. "
            "Create a slice, or switch MIG mode off with: nvidia-smi -mig 0"
        )
        return [_Device(handle, handle, replace(card, problem=problem))]

    def _facts(self, handle: Any, base: Gpu) -> Gpu:
        name, _ = self._ask("nvmlDeviceGetName", handle)
        uuid, _ = self._ask("nvmlDeviceGetUUID", handle)
        return replace(
            base,
            name=printable(name, 80) if name else base.name,
            uuid=printable(uuid, 96) if uuid else "",
        )

    def _read(self, device: _Device) -> Gpu:
        """The device with its present numbers."""
        gpu = device.facts
        if device.handle is None:
            return gpu
        memory, code = self._memory(device.handle)
        if is_lost(code):
            return replace(gpu, problem=device_trouble(code))
        utilization, silent = self._ask("nvmlDeviceGetUtilizationRates", device.handle)
        if code == silent == UNKNOWN:
            return replace(gpu, problem=device_trouble(code))
        power, _ = self._ask("nvmlDeviceGetPowerUsage", device.card)
        live = replace(
            gpu,
            utilization=None if utilization is None else _percent(utilization.gpu),
            temperature=self._temperature(device.card),
            power_watts=_watts(power),
        )
        if memory is not None:
            total, used, free, reserved = memory
            return replace(
                live,
                memory_total=total,
                memory_used=used,
                memory_free=free,
                memory_reserved=reserved,
                memory_reported=True,
            )
        return self._without_memory(device, live, code)

    def _without_memory(self, device: _Device, gpu: Gpu, code: int) -> Gpu:
        """A device that does not tell its memory: shared with the CPU, or simply unknown."""
        if (
            gpu.mig_index is None
            and not gpu.mig_mode
            and code == NOT_SUPPORTED
            and self._shares_memory(device)
        ):
            total, available = self._host_memory()
            return replace(
                gpu,
                memory_total=total,
                memory_used=max(0, total - available),
                memory_free=available,
                unified_memory=True,
                note=f"CPU and GPU share one memory of {gib(total)}: the numbers are those of system RAM.",
            )
        return replace(gpu, note=f"The driver does not say how much memory this device has ({_words(code)}).")

    def _shares_memory(self, device: _Device) -> bool:
        if _UNIFIED_NAMES.search(device.facts.name):
            return True
        mode, _ = self._ask("nvmlDeviceGetAddressingMode", device.handle)
        return bool(mode == _ADDRESSING_MODE_ATS)

    def _memory(self, handle: Any) -> tuple[tuple[int, int, int, int] | None, int]:
        """``(total, used, free, reserved)`` in bytes, or None with NVML's error code.

        The second form of the question keeps the driver's own reserve apart from what programs use.
        """
        memory, code = self._ask("nvmlDeviceGetMemoryInfo", handle, self._library.nvmlMemory_v2)
        if code and not is_lost(code):
            memory, code = self._ask("nvmlDeviceGetMemoryInfo", handle)
        if code:
            return None, code
        if memory.total == 0:
            return None, NOT_SUPPORTED
        reserved = getattr(memory, "reserved", 0)
        return (memory.total, min(memory.used, memory.total), min(memory.free, memory.total), reserved), 0

    def _temperature(self, card: Any) -> int | None:
        # The older question disappears with CUDA 14, the newer one is missing in older drivers.
        for question in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            value, code = self._ask(question, card, self._library.NVML_TEMPERATURE_GPU)
            if not code:
                return int(value)
        return None

    def _ask(self, function: str, *args: Any) -> tuple[Any, int]:
        """The answer of one NVML function and 0, or None and NVML's error code."""
        try:
            return getattr(self._library, function)(*args), 0
        except self._library.NVMLError as error:
            return None, int(getattr(error, "value", UNKNOWN))
        except UnicodeDecodeError as error:
            # A name in another encoding than UTF-8: pynvml raises, but the bytes are at hand.
            return bytes(error.object).decode("utf-8", "replace"), 0
        except AttributeError:
            return None, FUNCTION_NOT_FOUND
        except Exception:
            return None, UNKNOWN


def _words(code: int) -> str:
    return {NOT_SUPPORTED: "not supported", 4: "no permission"}.get(code, f"NVML error {code}")


def _watts(milliwatts: int | None) -> float | None:
    # Cards without a sensor have been seen to answer zero or all ones.
    return None if milliwatts is None or not 0 < milliwatts < 10_000_000 else round(milliwatts / 1000, 1)


def _percent(value: int) -> int | None:
    return value if 0 <= value <= 100 else None


def _system_memory() -> tuple[int, int]:
    from engine.machine.cgroup import ContainerLimits
    from engine.machine.host import memory

    total, available, _ = memory(ContainerLimits())
    return total, available
