"""Adapter and base as one model that transformers, vLLM and others load by themselves."""

from __future__ import annotations

from pathlib import Path

from engine.deliver.export.base import base_on_disk, check_unquantized, weight_bytes
from engine.deliver.export.card import write_card
from engine.deliver.export.job import Job, Needs, Target, Tell
from engine.deliver.export.needs import PROGRAM, SLACK, check_disk
from engine.deliver.export.staging import nearest
from engine.display import printable
from engine.errors import UserError
from engine.fit.types import DTYPE_BYTES
from engine.run.checkpoints import size_of

DTYPES = ("bfloat16", "float16", "float32")
WORDS = "the merged model"


def merged_needs(job: Job) -> Needs:
    """What a merge takes; as much as can be told before the base is on this disk."""
    base = base_on_disk(job.trained) if job.trained.is_adapter else job.trained.path
    disk = 0 if base is None or _is_linked(job) else merged_bytes(base, job.options.get("dtype"))
    adapter = size_of(job.trained.path) if job.trained.is_adapter else 0
    return Needs(disk + SLACK, PROGRAM + 2 * adapter, WORDS)


def _is_linked(job: Job) -> bool:
    """Whether the weights only get a second name: those of a model that was trained whole, on the disk where they are."""
    if job.trained.is_adapter or job.options.get("dtype") is not None:
        return False
    return job.trained.path.stat().st_dev == nearest(job.final).stat().st_dev


def merged_bytes(base: Path, dtype: str | None) -> int:
    """Size of the merged weights.

    Args:
        base: Folder of the base model.
        dtype: Number format of the result; None keeps that of the base.

    Raises:
        UserError: The weights are missing or damaged.
    """
    from engine.models.weights import read_weights
    from engine.run import atomic

    if dtype is None:
        return weight_bytes(base)
    weights = read_weights(base, atomic.read_json(base / "config.json") or {})
    return weights.params * DTYPE_BYTES.get(dtype, 4)


def _refuse(job: Job) -> UserError | None:
    dtype = job.options.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        return UserError(
            f"There is no number format {printable(dtype, 40)!r} for a merged model.",
            "--dtype",
            f"Choose one of: {', '.join(DTYPES)}; without --dtype it is that of the base.",
        )
    base = base_on_disk(job.trained) if job.trained.is_adapter else None
    if base is not None:
        try:
            check_unquantized(base, job.trained.config.model.model_name_or_path)
        except UserError as error:
            return error
    return None


def _make(job: Job, into: Path, tell: Tell) -> None:
    from engine.deliver.export.base import unquantized_base
    from engine.deliver.export.merge import merge

    if job.trained.is_adapter:
        # Only now is the base sure to be on this disk, and its size known.
        base = unquantized_base(job.trained, tell)
        check_disk(into, merged_bytes(base, job.options.get("dtype")), WORDS)
    merge(job.trained, into, tell, job.options.get("dtype"))
    write_card(job, into, "merged")


TARGET = Target(
    name="merged",
    title="Merged model",
    help="Base and adapter in one folder, for transformers and vLLM; large.",
    needs=merged_needs,
    refuse=_refuse,
    make=_make,
    options=("dtype",),
)
