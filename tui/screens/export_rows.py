"""What the Export screen shows: a line for each form, what it takes, how far it is, what came of it."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from engine.deliver.export.manifest import Export
from engine.deliver.export_choices import Choice, Room
from engine.deliver.proof.table import lines as proof_lines
from engine.deliver.proof.types import of_json
from engine.display import gib, printable
from engine.errors import UserError
from tui.text import hanging, stack
from tui.widgets.rows import Row

_BAR = 24  # cells of the bar of bytes


def form(choice: Choice) -> Content:
    """A line of the list of forms."""
    parts: list[Any] = [f"{choice.title:<18}"]
    if choice.refusal is not None:
        parts.append(("not possible", "$muted"))
    elif choice.made is not None:
        verdict = (choice.made.proof or {}).get("verdict")
        known = {"same": ("checked", "$success"), "differs": ("CHECK FAILED", "bold $error")}
        parts.append(known.get(str(verdict), ("not checked", "$warning")))
    return Content.assemble(*parts)


def detail(choice: Choice, room: Room | UserError | None, width: int) -> Content:
    """A form: what it is for, why it is not possible or what it takes, and the one that is there.

    Args:
        choice: The form.
        room: What it takes; None while that is measured.
        width: Cells of a line.
    """
    rows = [hanging(" ", "", choice.help, width)]
    if choice.refusal is not None:
        rows.append(hanging("✗", "bold $error", printable(choice.refusal.what, 300), width))
        return stack(*rows, hanging("→", "bold $primary", printable(choice.refusal.fix, 300), width))
    if isinstance(room, UserError):
        rows.append(hanging("!", "bold $warning", printable(room.what, 300), width))
    elif room is None:
        rows.append(Content.styled("  measuring ...", "$muted"))
    else:
        free = "" if room.free_bytes is None else f"; {gib(room.free_bytes)} are free"
        mark = ("✓", "$success") if room.fits else ("✗", "bold $error")
        rows.append(
            hanging(
                *mark,
                f"takes up to {gib(room.disk_bytes)} of disk{free} ({printable(room.words, 200)})",
                width,
            )
        )
    if choice.made is not None:
        where = f"There is one of {choice.made.made_at[:16].replace('T', ' ')} UTC: {choice.made.folder}"
        rows.append(hanging("•", "$muted", printable(where, 300), width))
    return stack(*rows)


def progress(step: str, counted: tuple[int, int] | None) -> Content:
    """The step that is being done, with its bytes (done, total) as a bar where they are known."""
    parts = [("● ", "$primary"), (printable(step, 120), "bold")]
    if counted is not None and counted[1] > 0:
        done, total = counted
        filled = min(_BAR, _BAR * done // total)
        parts += [("\n  " + "█" * filled, "$primary"), ("░" * (_BAR - filled), "$muted")]
        parts.append((f"  {_size(done)} of {_size(total)}", ""))
    return Content.assemble(*parts)


def result_rows(made: Export, width: int) -> list[Row]:
    """A finished export: where it is, its proof as a table, what comes next."""
    url = made.extra.get("url")
    where = str(url) if isinstance(url, str) else f"{made.folder}  ({_size(made.total_bytes)})"
    proof = of_json(made.proof)
    differs = proof is not None and proof.verdict == "differs"
    head = (
        ("! Written, but the check failed  ", "bold $error") if differs else ("✓ Exported  ", "bold $success")
    )
    rows: list[Row] = [(head, (printable(where, 400), ""))]
    if proof is not None:
        style = {"same": "$success", "differs": "bold $error"}.get(proof.verdict, "$warning")
        told = proof_lines(proof, width)
        rows += [(), ((told[0], style),), *(((line, _line_style(line)),) for line in told[1:])]
    if url is None and not differs:
        rows += [(), (("Next: t, to take it home.", "bold"),)]
    return rows


def _line_style(line: str) -> str:
    if line.startswith("  ✗") or "DIFFERS" in line:
        return "bold $error"
    return "$muted" if line.startswith("  -") else ""


def _size(num_bytes: int) -> str:
    return gib(num_bytes) if num_bytes >= 1 << 20 else f"{num_bytes / 1024:.0f} KiB"
