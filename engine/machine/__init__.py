"""What is here: GPUs, CPU, RAM, disks, containers and rented pods."""

from __future__ import annotations

from engine.machine.deep import deep_check
from engine.machine.doctor import diagnose
from engine.machine.finding import Finding
from engine.machine.model import Disk, Gpu, GpuState, Host, Machine, MemorySample, Pod, bf16_supported
from engine.machine.nvml import Nvml
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
    "probe",
]
