"""``finetui export RUN``: what was exported, the lines that take it home, and the note that it is there."""

from __future__ import annotations

import json
import shlex
from typing import Any

from engine.cli.export_status import status_json, status_lines
from engine.deliver.at_home import Standing, mark_home, standing, verdict_words
from engine.deliver.export.manifest import Export, list_exports
from engine.deliver.export.targets import NAMES, find_target
from engine.deliver.take_home import (
    Command,
    Remote,
    check_commands,
    copy_commands,
    run_commands,
    run_notes,
    this_machine,
    write_checksums,
)
from engine.display import gib, printable
from engine.errors import UserError
from engine.run.layout import RunDir

_LONGEST = 4000  # characters of a line that is to be pasted: never cut


def show_exports(run: RunDir, as_json: bool) -> int:
    """What there is and what can be made; always 0."""
    found, made = standing(run), list_exports(run)
    if as_json:
        print(json.dumps([_told(export) for export in made]))
        return 0
    if made or found.gone:
        _print_only_here(run, found)
        for push in (one for one in made if one.target == "hub"):
            print(
                printable(
                    f"  hub        {push.extra.get('pushed')}, since {push.made_at[:10]}: {push.extra.get('url')}",
                    500,
                )
            )
    if found.exports:
        print(f"\nThe lines that copy it to your computer:  finetui export {run.name} --take-home")
    if not made:
        print("Nothing has been exported from this run yet.")
    print("\nWhat can be made:")
    for name in NAMES:
        print(f"  --to {name:<10} {find_target(name).help}")
    return 0


def show_way_home(run: RunDir, as_json: bool) -> int:
    """For each export the lines to paste on the user's own computer; always 0."""
    found, remote = standing(run), this_machine()
    listed = [(one, write_checksums(one.export)) for one in found.exports]
    if as_json:
        print(
            json.dumps(
                {
                    "notes": remote.notes,
                    "exports": [_way(kept.export, checkable, remote) for kept, checkable in listed],
                }
            )
        )
        return 0
    if not listed:
        print(f"Nothing has been exported yet. Export first: finetui export {run.name} --to adapter")
        return 0
    for note in remote.notes:
        print(printable(f"! {note}", 400))
    for kept, checkable in listed:
        export = kept.export
        count = "1 file" if len(export.files) == 1 else f"{len(export.files)} files"
        state = f"{gib(export.total_bytes)}, {count}, {verdict_words(export)}, {kept.words}"
        print(printable(f"{export.folder.name}  {state}", 500))
        _print("Copy: type on your own computer", copy_commands(export, remote))
        if checkable:
            _print("Check: every line must end in OK", check_commands(export))
        _print("Run it there", run_commands(export))
        for note in run_notes(export):
            print(printable(f"  ! {note}", _LONGEST))
        print(
            f"  Then say that you have it:  finetui export {run.name} --have {shlex.quote(_name(run, export))}\n"
        )
    _print_only_here(run, found)
    return 0


def have(run: RunDir, name: str, as_json: bool) -> int:
    """Note that an export is on the user's computer, and tell what is only here; always 0.

    Raises:
        UserError: There is no such export, or it cannot be noted.
    """
    found = standing(run).exports
    wanted = next((one.export for one in found if _name(run, one.export) == name), None)
    if wanted is None:
        names = ", ".join(_name(run, one.export) for one in found)
        raise UserError(
            f"There is no export called {printable(name, 120)!r}.",
            run.name,
            f"Choose one of: {printable(names, 400)}" if names else "Export something first: --to adapter",
        )
    mark_home(run, wanted)
    if as_json:
        print(json.dumps(status_json(run, standing(run))))
    else:
        _print_only_here(run, standing(run))
    return 0


def _name(run: RunDir, export: Export) -> str:
    """How the user names an export: its folder inside the run, or where it lies."""
    return export.folder.name if export.folder.parent == run.exports else str(export.folder)


def _print_only_here(run: RunDir, found: Standing) -> None:
    print("\n".join(printable(line, 500) for line in status_lines(run, found)))


def _print(title: str, commands: list[Command]) -> None:
    if commands:
        print(f"  {title}")
    for command in commands:
        print(printable(f"    {command.what}:", 200))
        print(printable(f"      {command.line}", _LONGEST))


def _way(export: Export, checkable: bool, remote: Remote) -> dict[str, Any]:
    def lines(commands: list[Command]) -> list[dict[str, str]]:
        return [{"what": command.what, "line": command.line} for command in commands]

    return {
        **_told(export),
        "copy": lines(copy_commands(export, remote)),
        "check": lines(check_commands(export)) if checkable else [],
        "run": lines(run_commands(export)),
        "notes": run_notes(export),
    }


def _told(export: Export) -> dict[str, Any]:
    return {
        "target": export.target,
        "folder": str(export.folder),
        "bytes": export.total_bytes,
        "trained_from": export.trained_from,
        "made_at": export.made_at,
        "quants": list(export.quants),
        "proof": export.proof,
        "extra": export.extra,
    }
