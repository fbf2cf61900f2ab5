"""The state of the cards, or of main memory where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from engine.display import GIB, gib
from tui.monitor.hardware import GpuNow, Hardware, fullest

Row = tuple[tuple[str, str], ...]
GAP = ("  ·  ", "$muted")
CELL = 52  # columns of one card where several stand side by side


def card_line(hardware: Hardware, no_gpu: str, width: int) -> Row:
    """Everything in one row: each card, or all of them in a few words; main memory with the reason where there is none."""
    gpus = hardware.gpus
    if gpus is None:
        return (("Memory: no sample yet.", "$muted"),)
    if gpus:
        pieces: list[tuple[str, str]] = []
        for gpu in gpus:
            pieces += [GAP] * bool(pieces) + [_card(gpu)]
        fits = sum(len(text) for text, _ in pieces) <= width
        return tuple(pieces) if fits or len(gpus) == 1 else _many(gpus)
    ram = hardware.ram
    if ram is None or ram.total is None:
        return (("No GPU here, and RAM could not be read.", "$muted"),)
    trainer = "" if ram.trainer is None else f"trainer {gib(ram.trainer * GIB)}, "
    used = "?" if ram.used is None else f"{ram.used:.1f}"
    text = f"No GPU here, so RAM: {trainer}all {used} of {ram.total:.1f} GiB"
    why = ((f"   {no_gpu}", "$muted"),) if no_gpu and len(text) + len(no_gpu) + 3 <= width else ()
    return (text, ""), *why


def card_rows(hardware: Hardware, width: int, height: int) -> list[Row]:
    """Each card in a row, or several side by side; nothing when they do not fit or there is none."""
    gpus = hardware.gpus or ()
    across = max(1, width // CELL)
    if not gpus or -(-len(gpus) // across) > height:
        return []
    cells = [_card(gpu) for gpu in gpus]
    return [
        tuple((f"{text:<{CELL}}", style) for text, style in cells[start : start + across])
        for start in range(0, len(cells), across)
    ]


def _many(gpus: Sequence[GpuNow]) -> Row:
    """More cards than have room, in a few words; a broken one comes first."""
    broken = [_card(gpu) for gpu in gpus if gpu.problem][:1]
    parts = [f"{len(gpus)} GPUs"]
    for unit, values in (
        ("% busy", [gpu.utilization for gpu in gpus if gpu.utilization is not None]),
        ("°C", [gpu.temperature for gpu in gpus if gpu.temperature is not None]),
    ):
        if values:
            parts.append(f"{min(values):.0f} to {max(values):.0f} {unit}")
    if power := sum(gpu.power or 0.0 for gpu in gpus):
        parts.append(f"{power:,.0f} W")
    if (full := fullest(tuple(gpus))) is not None:
        parts.append(f"fullest {full.used or 0.0:.1f} of {full.total or 0.0:.1f} GiB")
    return (*broken, *((GAP,) * bool(broken)), ("  ".join(parts), ""))


def _card(gpu: GpuNow) -> tuple[str, str]:
    if gpu.problem:
        return f"{gpu.label} ✗ {gpu.problem}", "$error"
    parts = []
    if gpu.utilization is not None:
        parts.append(f"{gpu.utilization:3.0f} % busy")
    if gpu.temperature is not None:
        parts.append(f"{gpu.temperature:.0f} °C")
    if gpu.power is not None:
        parts.append(f"{gpu.power:.0f} W")
    if gpu.used is not None and gpu.total:
        parts.append(f"{gpu.used:.1f} of {gpu.total:.1f} GiB")
    else:
        parts.append("memory cannot be read")
    return f"{gpu.label}  " + "  ".join(parts), ""
