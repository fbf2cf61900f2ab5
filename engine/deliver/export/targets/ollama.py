"""For Ollama: a GGUF file with a Modelfile made from the training's own template, and ``ollama create`` where Ollama is."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

from engine.deliver.export.base import base_on_disk
from engine.deliver.export.gguf.build import build, needs
from engine.deliver.export.gguf.child import last_words, run_child
from engine.deliver.export.gguf.convert import missing_packages
from engine.deliver.export.gguf.model_folder import starts_with_bos
from engine.deliver.export.gguf.modelfile import Modelfile, generation_of, make_modelfile, window_of
from engine.deliver.export.gguf.quants import find_quants
from engine.deliver.export.gguf.training_system import training_system
from engine.deliver.export.job import Job, Needs, Target, Tell
from engine.deliver.export.manifest import note_extra
from engine.deliver.export.targets import lora_gguf
from engine.errors import UserError
from engine.models.chat_template import read_json

FILE = "Modelfile"
_LOG = "ollama.log"


def ollama_name(job: Job) -> str:
    """The model's name in Ollama: the option ``name``, or the run's in letters that Ollama takes."""
    wanted = job.options.get("name") or job.run.name
    return re.sub(r"[^a-z0-9._:/-]+", "-", wanted.lower()).strip("-.:/") or "finetuned"


def _refuse(job: Job) -> UserError | None:
    try:
        if len(find_quants(job.quants)) > 1:
            return UserError(
                "A Modelfile names one file, so Ollama gets one number format at a time.",
                "--quant",
                "Name one here; all of them at once: --to gguf",
            )
    except UserError as error:
        return error
    missing = lora_gguf.TARGET.refuse(job) if job.is_on("adapter") else missing_packages()
    if missing is not None:
        return missing
    try:
        _modelfile(job, "model.gguf").text()
    except UserError as error:
        return error
    return None


def _needs(job: Job) -> Needs:
    quants = find_quants(job.quants)
    if job.is_on("adapter"):
        return lora_gguf.TARGET.needs(replace(job, quants=tuple(quant.name for quant in quants)))
    return needs(job, quants, merges=True)


def _make(job: Job, into: Path, tell: Tell) -> None:
    (quant,) = find_quants(job.quants)
    if job.is_on("adapter"):
        lora_gguf.TARGET.make(replace(job, quants=(quant.name,)), into, tell)
        source, adapter = lora_gguf.base_name(job, quant.name), lora_gguf.adapter_name(job)
    else:
        (file,) = build(job, (quant,), into, tell).values()
        source, adapter = file.name, ""
    modelfile = _modelfile(job, source, adapter)
    for note in modelfile.notes:
        tell.say(note)
    (into / FILE).write_text(modelfile.text(), "utf-8")
    name = ollama_name(job)
    command = f"ollama create {shlex.quote(name)} -f {FILE}"
    if job.options.get("create") == "no" or shutil.which("ollama") is None:
        tell.say(f"Where Ollama is installed, in this folder: {command} && ollama run {shlex.quote(name)}")
        note_extra(into, ollama_name=name, ollama_created=False)
        return
    _create(job, into, name, command, tell)


def _create(job: Job, into: Path, name: str, command: str, tell: Tell) -> None:
    tell.step(f"Giving the model to Ollama as {name}")
    log = job.run.path / _LOG
    code = run_child(["ollama", "create", name, "-f", str(into / FILE)], log, tell.check)
    if code == 0:
        tell.say(f"Ollama has it now: ollama run {shlex.quote(name)}")
    else:
        # Its server may not be running; the files are good all the same.
        tell.say(
            f"Ollama did not take it ({last_words(log) or f'exit code {code}'}). Later, in this folder: {command}"
        )
    note_extra(into, ollama_name=name, ollama_created=code == 0)


def _modelfile(job: Job, source: str, adapter: str = "") -> Modelfile:
    """What the Modelfile says.

    Raises:
        UserError: The chat template cannot be written in Ollama's language.
    """
    trained = job.trained
    base = base_on_disk(trained) if trained.is_adapter else trained.path
    folders = [trained.path, *([base] if base is not None else [])]
    config = next((found for folder in reversed(folders) if (found := read_json(folder / "config.json"))), {})
    return make_modelfile(
        trained.path,
        source,
        adapter,
        add_bos=starts_with_bos(trained.path),
        trained_length=trained.config.training.max_length,
        window=window_of(config),
        system=training_system(trained.config),
        generation=generation_of(folders),
    )


TARGET = Target(
    name="ollama",
    title="Ollama",
    help="A GGUF file with its Modelfile: template, stop tokens, context and system prompt as in training.",
    needs=_needs,
    refuse=_refuse,
    make=_make,
    options=("name", "create", "adapter"),
)
