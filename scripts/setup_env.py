"""Create .venv and install finetui into it; does nothing when that is already done.

Standard library only, run by any Python 3.11 or newer: python3 scripts/setup_env.py
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = ROOT / "constraints.txt"
TORCH = re.search(r"^torch==(\S+)", CONSTRAINTS.read_text(), re.M)[1]  # type: ignore[index]
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


def main(extras: str) -> int:
    wanted = hashlib.sha256(
        (extras + (ROOT / "pyproject.toml").read_text() + CONSTRAINTS.read_text()).encode()
    ).hexdigest()
    # One for each set of packages, so that asking for more and for fewer in turn installs nothing anew.
    stamp = VENV / f".finetui-installed-{extras.replace(',', '-')}"
    if stamp.exists() and stamp.read_text() == wanted and PYTHON.exists():
        return 0
    if sys.version_info < (3, 11):  # noqa: UP036 - run by whatever Python the machine has
        print(f"finetui needs Python 3.11 or newer, this is {sys.version.split()[0]}.", file=sys.stderr)
        print("Install one and say which: make setup PYTHON=python3.12", file=sys.stderr)
        return 2
    reuse = system_torch()
    if not PYTHON.exists():
        say(f"Creating {VENV}" + (f" on top of this machine's torch {reuse}" if reuse else ""))
        venv.create(VENV, with_pip=True, system_site_packages=reuse is not None)
    constraints = CONSTRAINTS.read_text()
    if reuse is None:
        install_torch()
    else:
        # The machine's torch fits its driver; pinning another would download gigabytes to replace it.
        constraints = re.sub(r"^torch==.*\n", "", constraints, flags=re.M)
    say("Installing finetui and what it needs")
    if "gguf" in extras.split(","):
        say("llama.cpp is compiled once, which takes six minutes on two free cores and needs a C++ compiler")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as pinned:
        pinned.write(constraints)
    try:
        pip("install", "-q", "-c", pinned.name, "-e", f"{ROOT}[{extras}]")
    finally:
        os.unlink(pinned.name)
    stamp.write_text(wanted)
    say(f"Done. Activate with: source {VENV.relative_to(ROOT)}/bin/activate")
    return 0


def install_torch() -> None:
    """Without a GPU take a build without CUDA: one this machine offers, else PyTorch's own CPU wheels."""
    if has_torch():
        return
    if shutil.which("nvidia-smi") or Path("/dev/nvidiactl").exists():
        return  # the ordinary build, with CUDA, comes with the other requirements
    say(f"Installing torch {TORCH} for the CPU (no NVIDIA GPU here)")
    if pip("install", "-q", "--no-index", "--no-deps", f"torch=={TORCH}", check=False):
        return
    if not pip("install", "-q", "--no-deps", "--index-url", CPU_WHEELS, f"torch=={TORCH}", check=False):
        say("No CPU build could be had; the ordinary one, with CUDA, is downloaded instead")


def system_torch() -> str | None:
    """Version of a torch that this Python has outside a virtual environment, if it is new enough."""
    probe = "import importlib.metadata as m; print(m.version('torch'))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    version = done.stdout.strip()
    found = re.match(r"(\d+)\.(\d+)", version)
    return version if done.returncode == 0 and found and (int(found[1]), int(found[2])) >= (2, 8) else None


def has_torch() -> bool:
    probe = "import importlib.metadata as m; m.version('torch')"
    return subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0


def pip(*args: str, check: bool = True) -> bool:
    output = None if check else subprocess.DEVNULL
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *args]
    done = subprocess.run(command, check=False, stdout=output, stderr=output)
    if check and done.returncode:
        print(
            "The installation failed; pip's messages above say why. Run the command again to go on.",
            file=sys.stderr,
        )
        sys.exit(2)
    return done.returncode == 0


def say(text: str) -> None:
    print(f"[setup] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "train,dev"))
