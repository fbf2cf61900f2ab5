"""What a run can be exported to, with sizes, before anything is started. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.deliver.export.gguf.quants import QUANTS, file_bytes
from engine.deliver.export.job import Job
from engine.deliver.export.manifest import Export, list_exports
from engine.deliver.export.targets import NAMES, find_target
from engine.deliver.source import Trained, find_trained
from engine.errors import UserError
from engine.models.chat_template import read_json
from engine.models.weights import read_weights
from engine.run.layout import RunDir

WITH_QUANTS = ("gguf", "lora-gguf", "ollama")


@dataclass(frozen=True, slots=True)
class Choice:
    """One form.

    Attributes:
        name: As in ``--to``.
        title: For people.
        help: What it is for.
        refusal: Why it is not possible; None where it is.
        made: The export of this kind that is there already.
    """

    name: str
    title: str
    help: str
    refusal: UserError | None
    made: Export | None


@dataclass(frozen=True, slots=True)
class Room:
    """What an export takes, beside what there is.

    Attributes:
        disk_bytes: It takes at the fullest moment.
        free_bytes: The disk has; None where that cannot be told.
        words: What takes it.
    """

    disk_bytes: int
    free_bytes: int | None
    words: str

    @property
    def fits(self) -> bool:
        """The disk is large enough, as far as one can tell."""
        return self.free_bytes is None or self.disk_bytes <= self.free_bytes


def choices_of(run: RunDir) -> list[Choice]:
    """Every form for the result of a run, or its newest checkpoint.

    Raises:
        UserError: There is nothing to export.
    """
    job = job_for(run, find_trained(run), "adapter")
    made = {export.folder.name: export for export in list_exports(run)}
    found = []
    for name in NAMES:
        target = find_target(name)
        # What it is called on the Hub is asked for later.
        one = replace(job, target=name, options={"repo": run.name} if name == "hub" else {})
        found.append(Choice(name, target.title, target.help, target.refuse(one), made.get(one.name)))
    return found


def job_for(run: RunDir, trained: Trained, target: str, quants: tuple[str, ...] = ()) -> Job:
    """An export as it would be asked for."""
    return Job(run, trained, target, quants)


def room_for(run: RunDir, target: str, quants: tuple[str, ...]) -> Room:
    """Disk that an export takes and that is free where the run lies.

    Raises:
        UserError: It cannot be told: files are missing.
    """
    from engine.deliver.export.needs import disk_of

    job = job_for(run, find_trained(run), target, quants if target in WITH_QUANTS else ())
    needs = find_target(target).needs(job)
    disk = disk_of(job.final)
    return Room(needs.disk_bytes, disk.free if disk is not None and disk.free_reliable else None, needs.words)


def quant_sizes(run: RunDir) -> Mapping[str, int]:
    """About how large a GGUF file gets in each number format; empty where the base is not on this disk."""
    from engine.deliver.export.base import base_on_disk

    try:
        trained = find_trained(run)
        folder: Path | None = base_on_disk(trained) if trained.is_adapter else trained.path
        if folder is None:
            return {}
        config = read_json(folder / "config.json")
        params = read_weights(folder, config).params
    except UserError:
        return {}
    inner = config.get("text_config")
    part = inner if isinstance(inner, dict) else config
    hidden, vocab = (part.get(name) for name in ("hidden_size", "vocab_size"))
    if not isinstance(hidden, int) or not isinstance(vocab, int):
        return {}
    tables = min(params, hidden * vocab * (1 if part.get("tie_word_embeddings") else 2))
    return {quant.name: file_bytes(quant, params, tables, hidden) for quant in QUANTS}
