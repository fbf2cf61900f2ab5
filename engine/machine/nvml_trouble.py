"""What NVML's error codes mean for somebody who wants to train, and what to do about them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from engine.machine.model import GpuState

NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
OPERATING_SYSTEM = 17
LIB_RM_VERSION_MISMATCH = 18
GPU_NOT_FOUND = 28
UNKNOWN = 999

# PCI vendor numbers.
_NVIDIA = "0x10de"
_AMD = "0x1002"


def session_trouble(code: int, root: Path, library_version: str | None) -> GpuState:
    """The state shown when NVML itself cannot be opened.

    Args:
        code: NVML's error code.
        root: Where ``/`` is; the kernel module and the PCI bus are looked up below it.
        library_version: Version of the NVML library, where it told.
    """
    kernel = kernel_driver_version(root)
    if code == LIBRARY_NOT_FOUND:
        return _no_library(root, kernel)
    if code == DRIVER_NOT_LOADED:
        return GpuState(
            "no_driver",
            "The NVIDIA library is installed but the driver is not loaded.",
            "On your own machine: reboot, or run 'sudo modprobe nvidia'. In a container, the host "
            "must have a "
            "GPU and pass it on (docker run --gpus all).",
            kernel,
            card_seen=kernel is not None or _NVIDIA in _display_vendors(root),
        )
    if code == LIB_RM_VERSION_MISMATCH:
        # NVML writes its version with the CUDA major version in front: 12.570.124.06.
        library = re.sub(r"^\d{1,2}\.(?=\d{3})", "", library_version or "")
        known = [f"driver {kernel}"] if kernel else []
        known += [f"library {library}"] if library else []
        versions = f" ({', '.join(known)})" if known else ""
        return GpuState(
            "mismatch",
            f"The NVIDIA driver and its library have different versions{versions}.",
            "The driver was updated while it was running: reboot the machine. In a container, restart the "
            "container; if that does not help, the host must be rebooted by its provider.",
            kernel,
        )
    if code == FUNCTION_NOT_FOUND:
        return GpuState(
            "too_old",
            "The NVIDIA driver is too old to be asked about its GPUs.",
            "Update the NVIDIA driver, or rent a machine with a newer one.",
            kernel,
        )
    if code in (NO_PERMISSION, OPERATING_SYSTEM):
        return GpuState(
            "no_permission",
            "This user may not talk to the NVIDIA driver.",
            "Check who may open /dev/nvidia* (usually the groups video or render), or ask the administrator.",
            kernel,
        )
    return GpuState(
        "broken",
        f"The NVIDIA driver does not answer properly (NVML error {code}).",
        "Run nvidia-smi to see its own message; a reboot often helps. On a rented machine, take another one.",
        kernel,
    )


def device_trouble(code: int) -> str:
    """Why one device cannot be used."""
    if is_lost(code):
        return (
            "This card has stopped answering: the driver lost it. A reboot usually brings it back; "
            "on a rented "
            "machine, take another one."
        )
    if code == NO_PERMISSION:
        return "This card belongs to somebody else: this user or container may not use it."
    return f"This card does not answer properly (NVML error {code})."


def is_lost(code: int) -> bool:
    """The card has fallen off the bus or needs a reset."""
    return code in (GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND)


def kernel_driver_version(root: Path) -> str | None:
    """Version of the NVIDIA kernel module; None when it is not loaded."""
    try:
        text = (root / "proc/driver/nvidia/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    match = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", text)
    return match[0] if match else None


def _no_library(root: Path, kernel: str | None) -> GpuState:
    if kernel:
        return GpuState(
            "no_driver",
            f"The NVIDIA driver {kernel} is loaded, but its library is missing in this container or system.",
            "Start the container with the NVIDIA container toolkit (docker run --gpus all), or install the "
            "driver's user-space part.",
            kernel,
        )
    if sys.platform == "darwin":
        return GpuState(
            "no_driver", "A Mac has no NVIDIA GPU; training runs on the processor here.", card_seen=False
        )
    vendors = _display_vendors(root)
    if _NVIDIA in vendors:
        return GpuState(
            "no_driver",
            "There is an NVIDIA card in this machine, but no NVIDIA driver.",
            "Install the NVIDIA driver of your distribution and reboot.",
        )
    if _AMD in vendors:
        return GpuState(
            "no_driver",
            "There is an AMD card in this machine; finetui trains on NVIDIA cards or on the processor.",
            card_seen=False,
        )
    return GpuState(
        "no_driver",
        "No NVIDIA GPU was found; training runs on the processor, which is fine for the demo and "
        "slow for more.",
        "To train larger models, use or rent a machine with an NVIDIA GPU.",
        card_seen=False,
    )


def _display_vendors(root: Path) -> set[str]:
    """PCI vendors of the display and 3D controllers."""
    vendors = set()
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            if (device / "class").read_text(encoding="ascii").startswith("0x03"):
                vendors.add((device / "vendor").read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            continue
    return vendors
