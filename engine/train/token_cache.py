"""Tokens kept on disk, so that a run on the same data, template and tokenizer starts without making them again.

Everything in the folder may be deleted at any time. Only what took a while to make is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import engine.data.templates
from engine.config.schema import RunConfig
from engine.run.home import ensure_private, finetui_home
from engine.train.tokens import Tokenized

WORTH_IT = 1.0  # seconds; what is made faster is not kept
LIMIT = 4 << 30  # bytes of all that is kept; the longest unused goes first
LEFT_FREE = 4 << 30  # bytes of the disk that stay free
CODE = ("tokens.py", "pairs.py", "objectives")
COUNTS = b"finetui"


def folder() -> Path:
    """Where tokens are kept."""
    return finetui_home() / "cache" / "tokens"


def prepared(
    prepare: Callable[..., Tokenized],
    rows: Sequence[dict[str, Any]],
    tokenizer: Any,
    config: RunConfig,
    conversational: bool,
) -> Tokenized:
    """The rows as an objective prepares them, from the disk where the same was made before.

    Args:
        prepare: Of the objective.
        rows: Of the dataset.
        tokenizer: With its template.
        config: The run.
        conversational: Whether the rows are conversations.

    Returns:
        What `prepare` returns; its rows are a `datasets.Dataset`, read from disk as they are needed, if they were kept.
    """
    path = folder() / f"{key_of(rows, tokenizer, config, conversational)}.arrow"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _read(path)
    began = time.monotonic()
    made = prepare(rows, tokenizer, config, conversational)
    if time.monotonic() - began >= WORTH_IT and made.rows and os.environ.get("RANK", "0") == "0":
        with contextlib.suppress(OSError, ValueError, TypeError):  # a full disk or odd columns: then without
            _write(path, made)
            trim(path)
    return made


def key_of(rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool) -> str:
    """A name that changes with everything the tokens depend on: rows, tokenizer, template, settings, and the code."""
    digest = hashlib.sha256()
    settings = {
        "objective": config.method.objective,
        "template": config.template.model_dump(),
        "generation": config.generation.model_dump(),
        "rewards": config.rewards.model_dump(),
        "max_length": config.training.max_length,
        "seed": config.training.seed,
        "conversational": conversational,
        "chat_template": tokenizer.chat_template,
        "special": tokenizer.special_tokens_map,
        "versions": [version(name) for name in ("transformers", "tokenizers")],
    }
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    digest.update(backend.to_str().encode() if backend else json.dumps(tokenizer.get_vocab()).encode())
    for file in _code():
        digest.update(file.read_bytes())
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:40]


def as_dataset(rows: Any) -> Any:
    """Rows as a `datasets.Dataset`, which those from the disk are already."""
    from datasets import Dataset

    return rows if isinstance(rows, Dataset) else Dataset.from_list(list(rows))


def trim(newest: Path, limit: int = LIMIT) -> None:
    """Delete what was longest unused until the rest is within the limit."""
    files = sorted(newest.parent.glob("*.arrow"), key=lambda file: -file.stat().st_mtime)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > limit and file != newest:
            file.unlink(missing_ok=True)


def _code() -> list[Path]:
    here = Path(__file__).parent
    templates = Path(str(engine.data.templates.__file__)).parent
    parts = [here / name for name in CODE] + [templates, templates.parent / "render.py"]
    return [file for part in parts for file in (sorted(part.glob("*.py")) if part.is_dir() else [part])]


def _read(path: Path) -> Tokenized:
    import pyarrow as pa
    from datasets import Dataset

    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        counts = json.loads(reader.schema.metadata[COUNTS])
    rows = Dataset.from_file(str(path))
    if len(rows) != counts.pop("rows"):
        raise ValueError("cut off")
    os.utime(path)
    return Tokenized(rows=rows, **counts)


def _write(path: Path, made: Tokenized) -> None:
    """Under a temporary name first, so that what has the name is whole."""
    import pyarrow as pa

    table = pa.Table.from_pylist(list(made.rows))
    ensure_private(path.parent)
    if table.nbytes * 2 + LEFT_FREE > shutil.disk_usage(path.parent).free or table.nbytes > LIMIT:
        return
    counts = asdict(replace(made, rows=[])) | {"rows": len(made.rows)}
    table = table.replace_schema_metadata({COUNTS: json.dumps(counts).encode()})
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with open(temporary, "xb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
