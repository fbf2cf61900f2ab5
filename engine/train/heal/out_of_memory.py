"""Telling that memory ran out, and while doing what."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Literal

Doing = Literal["loading", "training", "evaluating", "saving"]

# CUDA and its libraries, HIP, bitsandbytes, PyTorch's CPU allocator and C++ say it in their own words.
_TEXTS = (
    "out of memory",
    "cudaerrormemoryallocation",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cusolver_status_alloc_failed",
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "std::bad_alloc",
    "cannot allocate memory",
)
_EVALUATING = {"evaluate", "evaluation_loop", "prediction_step"}
_SAVING = {"_save_checkpoint", "save_result"}
_LOADING = {"load_model", "build"}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that GPU or main memory ran out."""
    return any(_says_so(found) for found in _chain(error))


def doing(error: BaseException) -> Doing:
    """What was going on, from the functions the error came through."""
    names = {frame.name for found in _chain(error) for frame in traceback.extract_tb(found.__traceback__)}
    if names & _EVALUATING:
        return "evaluating"
    if names & _SAVING:
        return "saving"
    return "loading" if names & _LOADING else "training"


def _says_so(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(known in text for known in _TEXTS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
