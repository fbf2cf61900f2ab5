"""What a run can be exported to, with sizes, before anything is started. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.deliver.export.gguf.quants import QUANTS, file_bytes
from engine.deliver.export.job import Job
from engine.deliver.export.manifest import Export, list_exports
from engine.deliver.export.targets import NAMES, find_target
from engine.deliver.source import Trained, find_trained
from engine.errors import UserError
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
    made = {export.folder.name: export for export in list_exports(run) if export.folder.parent == run.exports}
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
    """About how large a GGUF file gets in each number format; empty where that cannot be told."""
    from engine.deliver.export.gguf.sizes import size_of

    try:
        size = size_of(find_trained(run))
    except UserError:
        return {}
    if not size.params:
        return {}
    return {quant.name: file_bytes(quant, size.params, size.tables, size.hidden) for quant in QUANTS}
