"""Tokenizing large datasets on all cores."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from engine.train.tokens import Tokenized, tokenize

WORTH_IT = 5_000  # rows; fewer are done before the processes are there
CHUNK = 1_000  # rows
MOST = 16  # processes; more only wait for the one that collects
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl

_Work = tuple[Any, int, bool]
_work: _Work


def tokenize_rows(
    rows: Sequence[dict[str, Any]],
    tokenizer: Any,
    max_length: int,
    assistant_only_loss: bool,
    processes: int | None = None,
) -> Tokenized:
    """As `tokenize`, on several cores where there are many rows.

    Args:
        rows: As `tokenize` takes them.
        tokenizer: As `prepare_tokenizer` left it.
        max_length: Longest row in tokens.
        assistant_only_loss: Learn the assistant's words only.
        processes: How many; by default a share of the cores, by the number of trainers on this machine.
    """
    if processes is None:
        processes = min(MOST, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    # Elsewhere nothing ends the processes when the trainer is killed, and they would hold its lock.
    if len(rows) < WORTH_IT or processes < 2 or not sys.platform.startswith("linux"):
        return tokenize(rows, tokenizer, max_length, assistant_only_loss)
    global _work
    _work = (tokenizer, max_length, assistant_only_loss)
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    # Forked, so that neither the tokenizer nor the libraries are loaded once more in each.
    with ProcessPoolExecutor(processes, get_context("fork"), _begin, (os.getpid(),)) as pool:
        try:
            return joined(list(pool.map(_tokenize, chunks)))
        except BrokenProcessPool:  # killed, such as for want of memory
            return tokenize(rows, tokenizer, max_length, assistant_only_loss)


def joined(parts: Sequence[Tokenized]) -> Tokenized:
    """Several parts of a dataset as one."""
    rows = [row for part in parts for row in part.rows]
    stopping = sum(part.stops * len(part.rows) for part in parts)
    return Tokenized(
        rows,
        sum(part.total for part in parts),
        sum(part.truncated for part in parts),
        sum(part.without_target for part in parts),
        sum(part.tokens for part in parts),
        sum(part.trained for part in parts),
        stopping / len(rows) if rows else 0.0,
    )


def cores() -> int:
    """Cores this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(parent: int) -> None:
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _tokenize(rows: Sequence[dict[str, Any]]) -> Tokenized:
    return tokenize(rows, *_work)
