"""Sending the curves to another program as well: only where it is asked for and installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from engine.display import printable
from engine.errors import UserError

PACKAGES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}


def require_reporting(names: Sequence[str], output_dir: str | None = None) -> None:
    """Check, without importing them, that the packages `report_to` needs are here.

    Args:
        names: Of `report_to`.
        output_dir: Of the trainer; TensorBoard's files are put beside it, unless the environment says where.

    Raises:
        UserError: One is missing.
    """
    for name in names:
        packages = PACKAGES[name]
        if all(find_spec(package) is None for package in packages):
            raise UserError(
                f"report_to asks for {name}, but the package {packages[0]} is not installed here.",
                f"report_to {name}",
                f"Install it: pip install {packages[0]}   or leave report_to out: finetui shows the curves itself.",
            )
    if output_dir is not None and "tensorboard" in names:
        os.environ.setdefault(
            "TENSORBOARD_LOGGING_DIR", str(Path(output_dir).absolute().parent / "tensorboard")
        )


def cannot_report(error: Exception) -> UserError | None:
    """What one of these programs complains about, such as that nobody is logged in; None when the error is another one."""
    name = type(error).__module__.partition(".")[0].lower()
    if name not in PACKAGES:
        return None
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    offline = "set WANDB_MODE=offline, " if name == "wandb" else ""
    return UserError(
        f"{name} does not work here: {printable(first, 300)}",
        f"report_to {name}",
        f"Do what it asks for, {offline}or leave report_to out: finetui shows the curves itself.",
    )
