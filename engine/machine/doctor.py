"""Reads a ``Machine`` and the installed packages, and says what is fine and what is not."""

from __future__ import annotations

from engine.display import GIB, gib, printable
from engine.machine.deep import deep_check
from engine.machine.finding import Finding, Severity
from engine.machine.model import Gpu, Machine, version_text
from engine.machine.software import Software, read_software

__all__ = ["Finding", "deep_check", "diagnose"]


def diagnose(machine: Machine, software: Software | None = None) -> list[Finding]:
    """The doctor's report, in the order: GPUs, software, host, disks, provider.

    Args:
        machine: What ``probe`` found.
        software: Installed packages; read from this Python by default.
    """
    software = software or read_software()
    return [
        *_driver(machine),
        *(finding for gpu in machine.gpus for finding in _gpu(gpu)),
        *_gpus_together(machine),
        *_torch(machine, software),
        *_bitsandbytes(machine, software),
        *_packages(software),
        *_host(machine),
        *_disks(machine),
        *_pod(machine),
    ]


def _driver(machine: Machine) -> list[Finding]:
    state = machine.gpu_state
    if state.state == "ok":
        return [Finding("ok", "NVIDIA driver", state.message)]
    # A machine without a GPU is healthy; one whose GPU cannot be used is not.
    severity: Severity = "problem" if state.card_seen else "note"
    return [Finding(severity, "NVIDIA driver", state.message, state.fix)]


def _gpu(gpu: Gpu) -> list[Finding]:
    title = _title(gpu)
    if gpu.problem is not None:
        return [Finding("problem", title, gpu.problem)]
    if not gpu.visible:
        fix = f"To train on it instead: export CUDA_VISIBLE_DEVICES={gpu.uuid or gpu.index}"
        return [Finding("note", title, "Hidden from training programs started here.", fix)]
    found = []
    if gpu.memory_total:
        found.append(Finding("ok", title, f"{gib(gpu.memory_free)} of {gib(gpu.memory_total)} free."))
    if gpu.note is not None:
        found.append(Finding("note" if gpu.unified_memory else "warning", title, gpu.note))
    found += _others(gpu, title)
    bf16 = gpu.bf16()
    if not bf16.value:
        fix = "Choose fp16, and keep an eye on losses that become NaN (not a number)."
        found.append(Finding("note", title, bf16.reason, fix))
    if gpu.temperature is not None and gpu.temperature >= 90:
        found.append(
            Finding(
                "warning",
                title,
                f"The chip is at {gpu.temperature} C, where cards slow themselves down.",
                "Check its cooling; on a rented machine, take another one.",
            )
        )
    return found


def _title(gpu: Gpu) -> str:
    return gpu.label if gpu.name == gpu.label else f"{gpu.label}: {gpu.name}"


def _others(gpu: Gpu, title: str) -> list[Finding]:
    """Memory already taken: told for the device, because process numbers are wrong inside containers."""
    # Where the driver does not tell its own reserve, up to half a gigabyte "in use" is that reserve.
    threshold = GIB // 4 if gpu.memory_reserved else GIB * 3 // 4
    if gpu.unified_memory or gpu.memory_used < threshold:
        return []
    return [
        Finding(
            "note" if gpu.memory_used * 10 < gpu.memory_total else "warning",
            title,
            f"Another process uses {gib(gpu.memory_used)} of this card; "
            f"{gib(gpu.memory_free)} are left for training.",
            "If it is yours (another run, a notebook, a chat), stop it. The command nvidia-smi may "
            "show which it is.",
        )
    ]


def _gpus_together(machine: Machine) -> list[Finding]:
    found = []
    value = machine.cuda_visible_devices
    if value is not None and machine.gpus:
        shown = printable(value, 200)
        seen = [gpu.label for gpu in machine.gpus if gpu.visible]
        found.append(
            Finding(
                "note" if seen else "problem",
                "CUDA_VISIBLE_DEVICES",
                f"It is set to '{shown}', which leaves {', '.join(seen) if seen else 'no GPU at all'}.",
                "" if seen else "To use the GPUs: unset CUDA_VISIBLE_DEVICES",
            )
        )
    usable = machine.usable_gpus
    if len({gpu.name for gpu in usable}) > 1:
        found.append(
            Finding(
                "note",
                "Different GPUs",
                "The GPUs differ; trained on together, all of them go at the pace and memory of the "
                "smallest. CUDA "
                "may also number them differently from this list.",
                "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, and choose equal cards with CUDA_VISIBLE_DEVICES.",
            )
        )
    if sum(gpu.mig_index is not None for gpu in machine.gpus) > 1:
        found.append(
            Finding(
                "note",
                "MIG slices",
                "This card is cut into MIG slices, and slices cannot be joined for one training run.",
                "Train on one slice, or switch MIG mode off (nvidia-smi -mig 0, as administrator).",
            )
        )
    return found


def _torch(machine: Machine, software: Software) -> list[Finding]:
    version = software.packages.get("torch")
    if version is None or not machine.usable_gpus:
        return []
    build = f"PyTorch {printable(version, 60)}"
    choose = "Install the PyTorch build for your driver (pytorch.org, Get Started, shows the command)."
    if software.torch_cuda is None:
        kind = f"built for {software.torch_other}" if software.torch_other else "the build without CUDA"
        return [
            Finding("problem", "PyTorch", f"{build} is {kind}, so training would ignore the GPU.", choose)
        ]
    cuda, driver = software.torch_cuda, machine.gpu_state.cuda_driver_version
    needs = f"{build} is built for CUDA {version_text(cuda)}"
    found = []
    if driver is None:
        found.append(
            Finding("warning", "PyTorch", f"{needs}; the driver does not say which CUDA it can run.")
        )
    elif driver[0] < cuda[0]:
        # CUDA promises compatibility within a major version only (CUDA compatibility guide).
        found.append(
            Finding(
                "problem",
                "PyTorch",
                f"{needs}, but the driver can run CUDA {version_text(driver)} at most.",
                f"Update the NVIDIA driver, or install a PyTorch built for CUDA {driver[0]}.",
            )
        )
    elif driver < cuda:
        found.append(
            Finding(
                "note",
                "PyTorch",
                f"{needs}, a little newer than the driver's CUDA {version_text(driver)}. "
                "Within one major version that normally works.",
            )
        )
    else:
        found.append(Finding("ok", "PyTorch", f"{needs}; the driver runs up to {version_text(driver)}."))
    for gpu in machine.usable_gpus:
        reason = _no_kernels(gpu, cuda)
        if reason is not None:
            found.append(Finding("problem", _title(gpu), f"{needs}, {reason}", choose))
    return found


def _no_kernels(gpu: Gpu, cuda: tuple[int, int]) -> str | None:
    """Why a PyTorch for this CUDA has no code for this GPU; None when it should have.

    CUDA 13 cannot compile for cards older than 7.5, and CUDA before 12.8 not for 10.0 and newer
    (CUDA toolkit release notes).
    """
    if gpu.compute_capability is None:
        return None
    text = version_text(gpu.compute_capability)
    if cuda >= (13, 0) and gpu.compute_capability < (7, 5):
        return f"which no longer supports cards of compute capability {text}. Choose CUDA 12.6."
    if cuda < (12, 8) and gpu.compute_capability >= (10, 0):
        return f"which is older than cards of compute capability {text}. Choose CUDA 12.8 or newer."
    return None


def _bitsandbytes(machine: Machine, software: Software) -> list[Finding]:
    version = software.packages.get("bitsandbytes")
    cuda = software.torch_cuda
    if version is None or cuda is None or not machine.usable_gpus:
        return []
    # bitsandbytes takes the nearest build of the same major version (its cextension.py).
    if any(built[0] == cuda[0] for built in software.bitsandbytes_cuda):
        return []
    brings = ", ".join(str(version_text(built)) for built in software.bitsandbytes_cuda) or "none"
    return [
        Finding(
            "problem",
            "bitsandbytes",
            f"bitsandbytes {printable(version, 40)} has no code for CUDA {version_text(cuda)} "
            f"(it brings: {brings}), so 4-bit and 8-bit training cannot work.",
            "Update bitsandbytes, or install a PyTorch for a CUDA version it supports.",
        )
    ]


def _packages(software: Software) -> list[Finding]:
    missing = [name for name, version in software.packages.items() if version is None]
    found = []
    if missing:
        found.append(
            Finding(
                "warning",
                "Training packages",
                f"Not installed: {', '.join(missing)}. Planning works, training does not.",
                "Install the training part: pip install 'finetui[train]'",
            )
        )
    wrong = _wrong_versions(software)
    for name, version, wanted in wrong:
        found.append(
            Finding(
                "warning",
                "Training packages",
                f"{name} {printable(version, 40)} is installed, but this finetui is made for {name}{wanted}.",
                f"pip install '{name}{wanted}'",
            )
        )
    if not missing and not wrong:
        names = ("torch", "transformers", "trl", "peft", "bitsandbytes")
        versions = ", ".join(f"{name} {printable(software.packages[name], 40)}" for name in names)
        found.append(Finding("ok", "Training packages", f"{versions} (Python {software.python})."))
    return found


def _wrong_versions(software: Software) -> list[tuple[str, str, str]]:
    """``(package, installed, wanted)`` of packages outside the range finetui asks for."""
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:
        return []
    wrong = []
    for name, version in software.packages.items():
        wanted = software.requirements.get(name)
        if version is None or wanted is None:
            continue
        try:
            if not SpecifierSet(wanted).contains(version, prereleases=True):
                wrong.append((name, version, wanted))
        except InvalidSpecifier:
            continue
    return wrong


def _host(machine: Machine) -> list[Finding]:
    host = machine.host
    limit = " (the container's limit)" if host.ram_limited else ""
    ram = f"{gib(host.ram_available)} of {gib(host.ram_total)} free{limit}"
    found = []
    if host.ram_available < 4 * GIB:
        found.append(
            Finding(
                "warning",
                "RAM",
                f"Only {ram}; loading a model passes through RAM, and the system kills what takes too much.",
                "Close other programs, or choose a small model.",
            )
        )
    else:
        found.append(Finding("ok", "RAM", f"{ram}."))
    quota = f", limited by the container to {host.cpu_quota:.2g}" if host.cpu_quota is not None else ""
    threads = "1 thread" if host.cores_usable == 1 else f"{host.cores_usable} threads"
    found.append(Finding("ok", "Processor", f"{host.cpu_name}, {threads} usable{quota}."))
    if host.shm_total is not None and host.shm_total < GIB and len(machine.usable_gpus) > 1:
        found.append(
            Finding(
                "warning",
                "Shared memory",
                f"/dev/shm has only {gib(host.shm_total)}; training on several GPUs exchanges data "
                "through it.",
                "Start the container with more, such as docker run --shm-size=8g.",
            )
        )
    return found


def _disks(machine: Machine) -> list[Finding]:
    found = []
    for disk in machine.disks:
        title = f"Disk {printable(disk.mount, 80)}"
        uses = f" for {', '.join(disk.uses)}" if disk.uses else ""
        if disk.total == 0:
            found.append(Finding("warning", title, f"{disk.note} It is used{uses}." if uses else disk.note))
            continue
        room = f"{gib(disk.free)} of {gib(disk.total)} free{uses}" if disk.free_reliable else f"used{uses}"
        keeps_work = bool({"runs", "model cache"} & set(disk.uses))
        severity: Severity = "ok"
        fix = ""
        if keeps_work and not disk.writable:
            severity, fix = "problem", "Choose another folder: FINETUI_HOME for runs, HF_HOME for models."
            room += ", but not writable"
        elif keeps_work and disk.free_reliable and disk.free < 10 * GIB:
            severity = "warning"
            fix = (
                "A 7B model is a download of about 15 GiB, and each checkpoint adds to it. Free some "
                "space, or set "
                "HF_HOME and FINETUI_HOME to a larger disk."
            )
        elif "runs" in disk.uses and disk.persistent is False:
            severity = "warning"
            fix = (
                "Set FINETUI_HOME to a folder on a lasting volume, "
                "or copy results away before you stop the machine."
            )
        elif not disk.free_reliable:
            severity = "note"
        found.append(Finding(severity, title, f"{room}. {disk.note}", fix))
    return found


def _pod(machine: Machine) -> list[Finding]:
    if machine.pod is not None:
        return [
            Finding("note", machine.pod.name, f"{machine.pod.billing} (Recognised: {machine.pod.evidence}.)")
        ]
    if machine.container is not None:
        return [Finding("note", "Container", f"This runs inside a container ({machine.container}).")]
    return []
