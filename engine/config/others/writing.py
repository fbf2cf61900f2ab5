"""Writing a run for another tool: its configuration, the data, and what belongs to them, in a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import yaml

from engine.config.others import axolotl, llamafactory, trl, unsloth
from engine.config.others.material import gather, jsonl
from engine.config.others.table import Written, relevant_keys
from engine.config.schema import RunConfig, keys
from engine.display import printable
from engine.errors import UserError
from engine.run import atomic

TOOLS: dict[str, ModuleType] = {
    "trl": trl,
    "llamafactory": llamafactory,
    "axolotl": axolotl,
    "unsloth": unsloth,
}


@dataclass(frozen=True, slots=True)
class Converted:
    """A folder that another tool can train from.

    Attributes:
        folder: Where it is.
        files: What is in it, by name relative to it.
        install: The command that installs the tool.
        command: The command that starts the training, in the folder.
        notes: What is not the same as in finetui, in sentences.
        warnings: What reading the data said.
    """

    tool: str
    title: str
    folder: str
    files: tuple[str, ...]
    install: str
    command: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def convert(
    config: RunConfig, reasons: Mapping[str, str], tool: str, out: Path, changed: str = ""
) -> Converted:
    """Write a run for another tool.

    Args:
        config: The run, with nothing left open.
        reasons: Why values are what they are, by key.
        tool: One of `TOOLS`.
        out: The folder to make.
        changed: What a run changed of its settings while it went on, in words.

    Raises:
        UserError: The folder is there already or cannot be written, the data cannot be read, or the tool does not know the
            objective.
    """
    module = TOOLS[tool]
    if os.path.lexists(out):
        raise UserError(
            "This folder is there already, and nothing is overwritten.",
            printable(out, 300),
            "Choose another with --out.",
        )
    job = Written(config, gather(config), reasons)
    if changed:
        job.notes.append(
            f"The run went on with other values than its run.yaml has, which are written here: {changed}."
        )
    command = module.write(job)
    rows = module.data(job)
    job.remaining(module.TITLE)
    assert not relevant_keys(config) - job.covered
    head = [
        f"A finetui run, written for {module.TITLE} {module.VERSION}.",
        f"Install: {module.INSTALL}",
        f"Start, in this folder: {command}",
    ]
    text = unsloth.script(job, head) if module is unsloth else job.yaml(head)
    files = {module.FILE: text, **job.files}
    for name, content in rows.items():
        files[f"data/{name}"] = content if isinstance(content, str) else jsonl(content)
    _publish(files, out)
    return Converted(
        tool,
        module.TITLE,
        str(out),
        tuple(sorted(files)),
        module.INSTALL,
        command,
        tuple(job.notes),
        job.material.warnings,
    )


def reasons_in(text: str) -> dict[str, str]:
    """What the comments behind the values of a run.yaml say, by key."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    lines, known, found = text.splitlines(), keys(), {}
    sections = node.value if isinstance(node, yaml.MappingNode) else []
    for _, section in sections:
        for key, value in section.value if isinstance(section, yaml.MappingNode) else []:
            end = value.end_mark
            rest = lines[end.line][end.column :].strip() if end.line < len(lines) else ""
            if key.value in known and rest.startswith("#"):
                found[key.value] = rest.lstrip("# ")
    return found


def _publish(files: Mapping[str, str], out: Path) -> None:
    """The folder appears whole or not at all."""
    staging = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        for name, text in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        atomic.publish(staging, out)
    except OSError as error:
        raise UserError(
            f"The folder cannot be written: {error.strerror}.",
            printable(out, 300),
            "Choose another with --out.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
