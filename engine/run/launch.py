"""Starting a run so that nothing the viewer does can touch it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from engine.errors import UserError
from engine.run import atomic, supervise
from engine.run.layout import RunDir

# torchrun turns SIGHUP into an exception even under nohup unless it is told which signals are its own.
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGQUIT",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TERM": "dumb",
    "NO_COLOR": "1",
}

# Growing batches otherwise leave memory in pieces that nothing fits into. Older versions of PyTorch read the second name.
ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
ALLOCATOR_SETTINGS = "expandable_segments:True"


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Variables a trainer needs beside those it inherits.

    Args:
        given: What it inherits; settings of PyTorch's allocator in it are left as they are.
    """
    if any(name in given for name in ALLOCATOR):
        return dict(ENVIRONMENT)
    return {**ENVIRONMENT, **dict.fromkeys(ALLOCATOR, ALLOCATOR_SETTINGS)}


def trainer_argv(run: RunDir, num_processes: int = 1) -> list[str]:
    """The command that trains a run: one Python process, or torchrun with several on this machine."""
    # -P keeps the current folder out of the import path, so a stray engine/ or torch.py there is not picked up.
    if num_processes == 1:
        return [sys.executable, "-P", "-m", "engine.train", str(run.path)]
    return [
        *(sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", str(num_processes), "--max_restarts", "0"),
        *("-m", "engine.train", str(run.path)),
    ]


def require_training_packages() -> None:
    """Check, without importing them, that the packages of the ``train`` extra are here.

    Raises:
        UserError: One is missing.
    """
    missing = [
        name for name in ("torch", "transformers", "trl", "peft", "datasets") if find_spec(name) is None
    ]
    if missing:
        raise UserError(
            f"Training needs packages that are not installed here: {', '.join(missing)}.",
            sys.prefix,
            "Install them into the same environment: pip install 'finetui[train]'",
        )


def run_detached(module: str, folder: Path, log: Path) -> int:
    """Start a module in a session of its own, its output at the end of `log`; returns the code of the process that starts it.

    Raises:
        OSError: The log cannot be written.
    """
    with open(log, "ab") as output:
        return subprocess.run(
            [sys.executable, "-P", "-m", module, str(folder)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **ENVIRONMENT},
            check=False,
        ).returncode


def launch(run: RunDir, num_processes: int = 1, env: dict[str, str] | None = None) -> None:
    """Start supervisor and trainer in their own session; returns once they hold the run.

    Raises:
        UserError: Another trainer works on this run, the folder cannot be written, or packages are missing.
    """
    require_training_packages()
    try:
        known = atomic.read_json(run.launch) or {}
        argv = trainer_argv(run, num_processes)
        atomic.write_json(
            run.launch, {**known, "argv": argv, "env": {**environment(os.environ), **(env or {})}}
        )
        started = run_detached("engine.run.supervise", run.path, run.log)
    except OSError as error:
        raise UserError(
            f"The run could not be started: {error.strerror or error}.",
            str(run.path),
            "Check that the folder can be written and the disk is not full.",
        ) from error
    if started == supervise.LOCKED:
        raise UserError(
            "Another trainer is working on this run.",
            str(run.path),
            f"Watch it with: finetui attach {run.name}   or stop it first with: finetui stop {run.name}",
        )
    if started != 0:
        raise UserError(
            "The supervisor of the run could not start.",
            str(run.log),
            "Read the last lines of that file.",
        )
