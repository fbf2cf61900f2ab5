"""The adapter alone, with everything that is needed to use it: small, but it needs its base model."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.deliver.export import model_files
from engine.deliver.export.base import base_on_disk, hub_id, shown_name
from engine.deliver.export.card import write_card
from engine.deliver.export.job import Job, Needs, Target, Tell
from engine.deliver.export.needs import PROGRAM, SLACK
from engine.display import printable
from engine.errors import UserError
from engine.hub.cache import COMMIT
from engine.run import atomic

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def _needs(job: Job) -> Needs:
    size = sum(path.stat().st_size for path in job.trained.path.glob("*.safetensors"))
    return Needs(size + SLACK, PROGRAM // 2, "the adapter")


def _refuse(job: Job) -> UserError | None:
    if not job.trained.is_adapter:
        return UserError(
            "This run trained the model itself, so there is no adapter.",
            job.run.name,
            "Export the model: --to merged, or --to gguf for llama.cpp and Ollama",
        )
    missing = [name for name in (CONFIG, WEIGHTS) if not (job.trained.path / name).is_file()]
    if missing:
        return UserError(
            f"The adapter lacks {missing[0]}.",
            printable(job.trained.path, 300),
            "Export another checkpoint: --checkpoint N",
        )
    return None


def _make(job: Job, into: Path, tell: Tell) -> None:
    tell.step("Copying the adapter")
    source = job.trained.path
    shutil.copyfile(source / WEIGHTS, into / WEIGHTS)
    tell.check()
    atomic.write_json(into / CONFIG, adapter_config(job))
    model_files.copy_tokenizer(source, into)
    base = base_on_disk(job.trained)
    tokenizer = model_files.load_tokenizer(source)
    model_files.write_generation_config(base or source, tokenizer, into)
    write_card(job, into, "adapter")


def adapter_config(job: Job) -> dict[str, object]:
    """PEFT's settings, with the base's name and commit on the Hub in place of a folder on this disk.

    Raises:
        UserError: The file is damaged.
    """
    path = job.trained.path / CONFIG
    config = atomic.read_json(path)
    if config is None:
        raise UserError(
            "The settings of the adapter cannot be read.",
            printable(path, 300),
            "Export another checkpoint: --checkpoint N",
        )
    revision = job.trained.config.model.model_revision
    config["base_model_name_or_path"] = shown_name(job.trained)
    if hub_id(job.trained) is not None and COMMIT.fullmatch(revision):
        config["revision"] = revision
    config["inference_mode"] = True
    return config


TARGET = Target(
    name="adapter",
    title="Adapter",
    help="The trained part alone: small; used together with the base model.",
    needs=_needs,
    refuse=_refuse,
    make=_make,
)
