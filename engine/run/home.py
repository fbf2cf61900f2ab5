"""Where runs live."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import UserError

# Volumes that rented-GPU providers keep when the container is replaced; the first that is mounted wins.
PERSISTENT_MOUNTS = ("/workspace", "/root/autodl-tmp", "/notebooks", "/storage", "/data")


def finetui_home(environ: dict[str, str] | None = None, mounts: tuple[str, ...] = PERSISTENT_MOUNTS) -> Path:
    """The folder of everything finetui keeps.

    ``$FINETUI_HOME`` when set; else the persistent volume of a rented pod; else the XDG data folder.
    """
    env = os.environ if environ is None else environ
    if env.get("FINETUI_HOME"):
        return Path(env["FINETUI_HOME"]).expanduser().absolute()
    for mount in mounts:
        if os.path.ismount(mount) and os.access(mount, os.W_OK):
            return Path(mount) / "finetui"
    data = env.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "finetui"


def runs_home() -> Path:
    """The folder that holds one folder per run."""
    return finetui_home() / "runs"


def ensure_private(folder: Path) -> None:
    """Create a folder that only its owner may open.

    Raises:
        UserError: The folder cannot be created or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder for runs cannot be created: {error.strerror}.",
            str(folder),
            "Choose a folder you may write to: FINETUI_HOME=/path/to/folder finetui ...",
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            "The folder for runs cannot be written.",
            str(folder),
            "Change its permissions, or choose another one: FINETUI_HOME=/path/to/folder finetui ...",
        )
