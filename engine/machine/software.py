"""Which Python packages are installed, found without importing any of them."""

from __future__ import annotations

import importlib.util
import platform
import re
from dataclasses import dataclass
from pathlib import Path

TRAINING_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes")


@dataclass(frozen=True, slots=True)
class Software:
    """Versions that decide whether training can work.

    Attributes:
        packages: Installed version of each training package; None when it is missing.
        torch_cuda: CUDA version torch was built for; None for a CPU build or without torch.
        torch_other: Another accelerator torch was built for, such as ``ROCm``.
        requirements: What finetui asks for, by package name, such as ``{"trl": "==1.16.0"}``.
        bitsandbytes_cuda: CUDA versions bitsandbytes brings compiled code for.
    """

    python: str
    packages: dict[str, str | None]
    torch_cuda: tuple[int, int] | None
    torch_other: str | None
    requirements: dict[str, str]
    bitsandbytes_cuda: tuple[tuple[int, int], ...]


def read_software() -> Software:
    """The packages of the Python that runs this."""
    cuda, other = _torch_build()
    return Software(
        python=platform.python_version(),
        packages={name: _version(name) for name in TRAINING_PACKAGES},
        torch_cuda=cuda,
        torch_other=other,
        requirements=_requirements(),
        bitsandbytes_cuda=_bitsandbytes_cuda(),
    )


def parse_torch_version(text: str) -> tuple[tuple[int, int] | None, str | None]:
    """CUDA version and other accelerator from the text of ``torch/version.py``."""
    cuda = re.search(r"^cuda\b[^=\n]*=\s*['\"](\d+)\.(\d+)", text, re.MULTILINE)
    other = None
    for name, shown in (("hip", "ROCm"), ("xpu", "XPU")):
        if re.search(rf"^{name}\b[^=\n]*=\s*['\"]", text, re.MULTILINE):
            other = shown
    return (None if cuda is None else (int(cuda[1]), int(cuda[2]))), other


def _torch_build() -> tuple[tuple[int, int] | None, str | None]:
    folder = _package_folder("torch")
    if folder is None:
        return None, None
    try:
        return parse_torch_version((folder / "version.py").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None, None


def _bitsandbytes_cuda() -> tuple[tuple[int, int], ...]:
    folder = _package_folder("bitsandbytes")
    if folder is None:
        return ()
    # The file name writes CUDA 12.8 as 128; the major version has two digits.
    found = (re.fullmatch(r"libbitsandbytes_cuda(\d\d)(\d+)", file.stem) for file in folder.glob("lib*"))
    return tuple(sorted((int(match[1]), int(match[2])) for match in found if match))


def _package_folder(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _version(name: str) -> str | None:
    # Costs 20 ms to import, which screens that only look at the machine need not pay.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _requirements() -> dict[str, str]:
    """Version ranges of the installed ``finetui`` distribution; empty when it runs from a checkout."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("finetui") or []
    except PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)", line)
        if match and match[2].strip():
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2].strip()
    return found
