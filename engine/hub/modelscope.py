"""ModelScope, the Hub's sibling in China, through its own client where that is installed."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.hub import model_files, settings
from engine.hub.names import Kind
from engine.hub.task import Progress, Task

PACKAGE = "modelscope"
DEFAULT_REVISION = "master"


def download(repo_id: str, revision: str, task: Task, weights: bool = True, kind: Kind = "model") -> Path:
    """Download from ModelScope; its client keeps its own cache (MODELSCOPE_CACHE) and continues after a cut.

    Args:
        repo_id: ``owner/name``.
        revision: Branch or tag; ``main`` means ModelScope's ``master``.
        task: Told of bytes; may cancel.
        weights: Weights too, or only what turns text into tokens.
        kind: Model or dataset.

    Raises:
        UserError: The package is not installed, or it reports an error.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(
            "Downloads from ModelScope need a package that is not installed here.",
            printable(f"modelscope:{repo_id}", 140),
            f"Install it into the same environment: pip install {PACKAGE}",
        )
    small = [model_files.CONFIG, *model_files.TOKENIZER]
    wanted = (
        None if kind == "dataset" else [*small, *model_files.OTHER, model_files.INDEX, "model*.safetensors"]
    )
    try:
        client: Any = importlib.import_module("modelscope.hub.snapshot_download")
        folder = client.snapshot_download(
            repo_id,
            revision=DEFAULT_REVISION if revision == "main" else revision,
            repo_type=kind,
            allow_patterns=wanted if weights else small,
            progress_callbacks=[_counting(task)],
        )
    except UserError:
        raise
    except Exception as error:
        task.check()
        lines = settings.redacted(str(error)).strip().splitlines()
        raise UserError(
            f"ModelScope's client failed: {printable(lines[0] if lines else type(error).__name__, 200)}",
            printable(f"modelscope:{repo_id}", 140),
            "Check the name on modelscope.cn and the network; what has arrived is kept.",
        ) from None
    return Path(folder)


def _counting(task: Task) -> type:
    """A class as ModelScope's client wants one: made for each file, told of every chunk."""
    totals = {"done": 0, "total": 0}

    class Counting:
        def __init__(self, filename: str, file_size: int) -> None:
            totals["total"] += file_size or 0

        def update(self, size: int) -> None:
            task.check()
            totals["done"] += size
            task.progress(Progress(task.repo_id, totals["done"], totals["total"]))

        def end(self) -> None: ...

    return Counting
