"""What the trainer process does before it loads its libraries, so that the first step comes sooner."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

from engine.config.schema import RunConfig

PIECE = 64 << 20  # bytes


def leave_out_unused(config: RunConfig, model_folder: str) -> None:
    """Keep PEFT from loading bitsandbytes, and with it PyTorch's compiler, in runs that hold nothing in 4 or 8 bits.

    For the trainer process only: whatever is loaded afterwards believes that bitsandbytes is not installed.
    """
    optimizer = config.training.optim or ""
    quantized = config.model.load_in_4bit or config.model.load_in_8bit or _stored_quantized(model_folder)
    if not quantized and "8bit" not in optimizer and "bitsandbytes" not in sys.modules:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # Python's own way to say that it cannot be imported


def _stored_quantized(model_folder: str) -> bool:
    try:
        return "quantization_config" in (Path(model_folder) / "config.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return True


def collect_later() -> None:
    """Search for no garbage while libraries load: nearly all they make stays, and searching it takes a fifth of that time."""
    gc.disable()


def collect_again() -> None:
    """Search for garbage from here on, but not among what libraries and model have made."""
    gc.freeze()
    gc.enable()


def read_ahead(model_folder: str) -> None:
    """Let the disk read the weights while libraries load and rows are tokenized; they wait in the page cache then."""
    folder = Path(model_folder)
    if hasattr(os, "posix_fadvise") and folder.is_dir():
        threading.Thread(target=_advise, args=(folder,), name="read-ahead", daemon=True).start()


def _advise(folder: Path) -> None:
    try:
        files = sorted(folder.glob("*.safetensors"))
        memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if sum(file.stat().st_size for file in files) > memory // 2:
            return  # they would push each other out again
        for file in files:
            with open(file, "rb") as handle:
                for start in range(0, file.stat().st_size, PIECE):
                    os.posix_fadvise(handle.fileno(), start, PIECE, os.POSIX_FADV_WILLNEED)
    except OSError:
        return  # loading will say it better
