"""What is here: GPUs, CPU, RAM, disks, containers and rented pods."""

from __future__ import annotations

from engine.machine.deep import deep_check
from engine.machine.doctor import Finding, diagnose
from engine.machine.model import Disk, Gpu, GpuState, Host, Machine, MemorySample, Pod, bf16_supported
from engine.machine.nvml import Nvml
from engine.machine.pod import persistent_folder
from engine.machine.probe import Sampler, probe

__all__ = [
    "Disk",
    "Finding",
    "Gpu",
    "GpuState",
    "Host",
    "Machine",
    "MemorySample",
    "Nvml",
    "Pod",
    "Sampler",
    "bf16_supported",
    "deep_check",
    "diagnose",
    "persistent_folder",
    "probe",
]
