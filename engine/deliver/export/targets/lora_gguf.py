"""The LoRA adapter alone as a GGUF file, for llama.cpp's ``--lora`` over the base model's GGUF file."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.deliver.export.gguf.build import BASE, base_folder, build, needs
from engine.deliver.export.gguf.convert import convert_adapter, missing_packages
from engine.deliver.export.gguf.lora import adapter_refusal, prepare_adapter
from engine.deliver.export.gguf.quants import file_name, find_quants
from engine.deliver.export.gguf.source import find_converter
from engine.deliver.export.job import Job, Needs, Target, Tell
from engine.display import gib
from engine.errors import UserError

# As the adapter is small: its smallest numbers would be lost in 16 bits.
DTYPE = "F32"
_WORK = ".lora-work"


def _refuse(job: Job) -> UserError | None:
    if not job.trained.is_adapter:
        return UserError(
            "This run trained the whole model, so there is no adapter to export.",
            job.run.name,
            "Export the whole model: --to gguf",
        )
    try:
        if job.quants:
            find_quants(job.quants)
    except UserError as error:
        return error
    return missing_packages() or adapter_refusal(job.trained.path)


def _needs(job: Job) -> Needs:
    weights = job.trained.path / "adapter_model.safetensors"
    adapter = 2 * (weights.stat().st_size if weights.is_file() else 0)
    words = f"the adapter in 32 bits ({gib(adapter)})"
    base = needs(job, find_quants(job.quants) if job.quants else (), merges=False)
    if not job.quants:
        return Needs(2 * adapter, base.ram_bytes, words)
    return Needs(2 * adapter + base.disk_bytes, base.ram_bytes, f"{words}, the base model: {base.words}")


def _make(job: Job, into: Path, tell: Tell) -> None:
    converter = find_converter(tell)
    base = base_folder(job, tell)
    work = into / _WORK
    work.mkdir()
    try:
        tell.step("Writing the adapter")
        adapter = prepare_adapter(job.trained.path, work / "adapter")
        size = 2 * (adapter / "adapter_model.safetensors").stat().st_size
        target = into / adapter_name(job)
        log = job.run.path / "gguf.log"
        convert_adapter(converter, adapter, base, target, DTYPE, log, tell, size)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if job.quants:
        build(job, find_quants(job.quants), into, tell, base_only=True)
    else:
        tell.say("The adapter needs the base model as a GGUF file; with --quant it is written beside it.")


def adapter_name(job: Job) -> str:
    """Name of the adapter's file."""
    return file_name(job.run.name, f"lora-{DTYPE}")


def base_name(job: Job, quant: str) -> str:
    """Name of the base model's file in a number format."""
    return file_name(f"{job.run.name}-{BASE}", quant)


TARGET = Target(
    name="lora-gguf",
    title="LoRA as GGUF",
    help="The adapter alone, for llama.cpp's --lora: small, and several can share one base model.",
    needs=_needs,
    refuse=_refuse,
    make=_make,
)
