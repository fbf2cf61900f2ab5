"""An adapter over the embedded model that answers and stops, and faults planted into what is exported of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config.draft import DEMO_RECIPE
from engine.deliver.export.job import Job
from engine.deliver.export.targets import find_target
from engine.deliver.proof import prove
from engine.deliver.proof.types import Proof
from tests.deliver.exports_made import Told, tuned_run

DEMO = DEMO_RECIPE.parent
Plant = Callable[[Path], None]


def demo_job(target: str = "merged", quants: tuple[str, ...] = (), **options: str) -> Job:
    """The embedded model with an adapter whose numbers are small, so that it still answers and stops."""
    run, trained = tuned_run(DEMO, "owl", target_modules=["q_proj"])
    return Job(run, trained, target, quants, None, options)


def made(job: Job, into: Path) -> Path:
    """The target's own work, without the core around it."""
    into.mkdir()
    find_target(job.target).make(job, into, Told())
    return into


def made_from(job: Job, plant: Plant, into: Path) -> Path:
    """The same of a copy of the trained files in which a fault was planted."""
    copy = into.with_name("tampered")
    shutil.copytree(job.trained.path, copy)
    plant(copy)
    return made(replace(job, trained=replace(job.trained, path=copy)), into)


def proved(job: Job, folder: Path) -> tuple[Proof, Told]:
    """What the proof says, and what was told aloud."""
    told = Told()
    found = prove(job, folder, told)
    assert found is not None
    return found, told


def failed(proof: Proof) -> set[str]:
    """Names of the checks that failed."""
    return {check.name for form in proof.forms for check in form.checks if check.passed is False}


def causes(proof: Proof) -> str:
    """All likely causes, in one text."""
    return " ".join(cause.what for form in proof.forms for cause in form.causes)


def wrong_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
    )


def doubled_bos(folder: Path) -> None:
    """A start token that training did not have; servers that add one as well make it two."""
    template = folder / "chat_template.jinja"
    template.write_text("{{ bos_token }}" + template.read_text("utf-8"), "utf-8")
    edit(folder / "tokenizer_config.json", bos_token="<|endoftext|>")


def pad_is_eos(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    edit(folder / "tokenizer_config.json", pad_token=settings["eos_token"])


def other_stop_token(folder: Path) -> None:
    """The end token of another family: nothing stops where the model says its own."""
    edit(folder / "tokenizer_config.json", eos_token="<|endoftext|>")
    if (folder / "generation_config.json").is_file():
        ids = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
        number = next(token["id"] for token in ids if token["content"] == "<|endoftext|>")
        edit(folder / "generation_config.json", eos_token_id=number)


def renamed_stop_token(folder: Path) -> None:
    """The very token under another name."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text("utf-8").replace("<|im_end|>", "<|im_fin|>"), "utf-8")


def edit(path: Path, **values: Any) -> None:
    value = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**value, **values}), "utf-8")
