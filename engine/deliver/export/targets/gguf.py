"""The whole model as GGUF files: for llama.cpp, Ollama, LM Studio and other programs that run on a laptop."""

from __future__ import annotations

from pathlib import Path

from engine.deliver.export.gguf.build import build, needs
from engine.deliver.export.gguf.convert import missing_packages
from engine.deliver.export.gguf.quants import find_quants
from engine.deliver.export.job import Job, Needs, Target, Tell
from engine.errors import UserError


def _refuse(job: Job) -> UserError | None:
    try:
        find_quants(job.quants)
    except UserError as error:
        return error
    return missing_packages()


def _needs(job: Job) -> Needs:
    return needs(job, find_quants(job.quants), merges=True)


def _make(job: Job, into: Path, tell: Tell) -> None:
    build(job, find_quants(job.quants), into, tell)


TARGET = Target(
    name="gguf",
    title="GGUF",
    help="One file a number format, for llama.cpp, Ollama, LM Studio: runs on a laptop, without Python.",
    needs=_needs,
    refuse=_refuse,
    make=_make,
)
