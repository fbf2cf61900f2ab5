"""What ``CUDA_VISIBLE_DEVICES`` leaves of the cards, by the rules of the CUDA driver."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.machine.model import Gpu


def visible_positions(
    value: str | None, gpus: Sequence[Gpu], driver_version: str | None = None
) -> tuple[int, ...]:
    """Positions in ``gpus`` that a CUDA program would see, in the order it would number them.

    The rules, from the CUDA programming guide and the MIG user guide: the list is read up to the first
    entry that names no device; an entry given twice hides everything; a UUID may be shortened; the kind of
    the first entry (number, ``GPU-``, ``MIG-``) is the kind of all. Drivers before 570 show a program
    one MIG slice only, and no whole card beside it.

    Args:
        value: The variable; None when it is not set.
        gpus: Whole cards and MIG slices in NVML order.
        driver_version: Such as ``550.54.15``; decides the MIG rule.
    """
    if value is None:
        chosen = [position for position, gpu in enumerate(gpus) if not _empty_mig_card(gpu)]
    else:
        chosen = _chosen(value.strip(), gpus)
    slices = [position for position in chosen if gpus[position].mig_index is not None]
    major = re.match(r"\d+", driver_version or "")
    if slices and (major is None or int(major[0]) < 570):
        return (slices[0],)
    return tuple(chosen)


def _chosen(value: str, gpus: Sequence[Gpu]) -> list[int]:
    prefix = next((kind for kind in ("GPU-", "MIG-") if value.startswith(kind)), "")
    entries: list[str | int] = []
    for word in value.split(","):
        entry: str | int = word.strip() if prefix else _leading_number(word.strip())
        if entry in entries:
            return []
        names_nothing = entry < 0 if isinstance(entry, int) else not entry.startswith(prefix)
        if names_nothing:
            break
        entries.append(entry)
    chosen: list[int] = []
    for entry in entries:
        if isinstance(entry, int):
            found = [position for position, gpu in enumerate(gpus) if gpu.index == entry]
        else:
            found = _by_uuid(entry, gpus)
        if not found:
            break
        chosen += [
            position for position in found if position not in chosen and not _empty_mig_card(gpus[position])
        ]
    return chosen


def _by_uuid(entry: str, gpus: Sequence[Gpu]) -> list[int]:
    """Devices of the one card or slice whose UUID starts with this; none when it could be several."""
    of_slice = entry.startswith("MIG-")
    uuids = {gpu.uuid if of_slice else gpu.card_uuid or gpu.uuid for gpu in gpus}
    matching = {uuid for uuid in uuids if uuid.startswith(entry)}
    if len(matching) != 1:
        return []
    uuid = matching.pop()
    return [
        position
        for position, gpu in enumerate(gpus)
        if uuid == (gpu.uuid if of_slice else gpu.card_uuid or gpu.uuid)
    ]


def _leading_number(entry: str) -> int:
    """The number an entry starts with (CUDA reads ``1abc`` as 1); -1 when there is none."""
    match = re.match(r"[+-]?\d+", entry)
    return int(match[0]) if match else -1


def _empty_mig_card(gpu: Gpu) -> bool:
    return gpu.mig_mode and gpu.mig_index is None
