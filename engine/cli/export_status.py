"""What was exported of every run, whether it was checked, and what is only on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.deliver.at_home import Standing, standing, verdict_words
from engine.display import gib, printable
from engine.run.home import runs_home
from engine.run.layout import RunDir
from engine.run.result import has_result
from engine.run.state import list_runs


def show_status(as_json: bool) -> int:
    """Print it; always 0."""
    runs = [RunDir(Path(state.path)) for state in list_runs()]
    found = [(run, standing(run)) for run in runs]
    if as_json:
        print(json.dumps([status_json(run, one) for run, one in found], indent=1))
        return 0
    if not found:
        print(f"No runs yet in {runs_home()}. Start one with: finetui demo")
    for run, one in found:
        for line in status_lines(run, one):
            print(printable(line, 500))
    return 0


def status_lines(run: RunDir, found: Standing) -> list[str]:
    """One run: its exports, then what this machine alone has."""
    if not found.exports and not has_result(run):
        return [f"{run.name}: nothing to export yet"]
    told = [f"{run.name}: {_summary(found)}"]
    for kept in found.exports:
        export = kept.export
        state = verdict_words(export)
        if not kept.whole:
            state = "DAMAGED: files are missing"
        elif not kept.current:
            state += (
                ", of an earlier state of the run"
                if export.trained_from == "result"
                else f", of {export.trained_from}"
            )
        told.append(f"  {export.target:<10} {gib(export.total_bytes):>9}  {state}; {kept.words}")
        told.append(f"  {'':<10} {'':>9}  {export.folder}")
    told += [f"  gone: the export that was written to {path} is not there any more" for path in found.gone]
    listed = {kept.export.folder for kept in found.exports}
    for only in found.only_here:
        if only.path in listed:
            continue
        mark = "!" if only.matters else "-"
        told.append(f"  {mark} only here: {only.what} ({gib(only.bytes)})  {only.path}")
    return told


def _summary(found: Standing) -> str:
    if found.safe:
        return "what was learnt is elsewhere, too"
    return "what was learnt is ONLY ON THIS MACHINE"


def status_json(run: RunDir, found: Standing) -> dict[str, Any]:
    """The same for programs."""
    return {
        "name": run.name,
        "path": str(run.path),
        "safe": found.safe,
        "exports": [
            {
                "target": kept.export.target,
                "folder": str(kept.export.folder),
                "bytes": kept.export.total_bytes,
                "quants": list(kept.export.quants),
                "trained_from": kept.export.trained_from,
                "current": kept.current,
                "whole": kept.whole,
                "verdict": (kept.export.proof or {}).get("verdict", "not run"),
                "at_home": kept.home or None,
                "pushed": kept.pushed or None,
            }
            for kept in found.exports
        ],
        "gone": [str(path) for path in found.gone],
        "only_here": [
            {"what": only.what, "path": str(only.path), "bytes": only.bytes, "matters": only.matters}
            for only in found.only_here
        ],
    }
