"""List all runs, newest first; put some side by side; or delete some."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from engine.cli.main import Parser, Screen
from engine.display import printable
from engine.errors import UserError
from engine.run import removing
from engine.run.home import runs_home
from engine.run.state import RunState, find_run, list_runs
from engine.run.sweeps import list_sweeps, names_of

EXAMPLE = "finetui runs --json"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--compare",
        nargs="+",
        metavar="RUN",
        help="settings that differ between these runs, and what came of it; a sweep stands for all its runs",
    )
    what.add_argument(
        "--delete",
        nargs="+",
        metavar="RUN",
        help="delete these runs with their checkpoints and results, after asking; a sweep stands for all its runs",
    )
    what.add_argument(
        "--export-status",
        action="store_true",
        help="what was exported of each run, whether it was checked, and what is only on this machine",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="with --delete: do not ask")
    parser.add_argument("--json", action="store_true", help="a JSON list of objects")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Print the list, or the table; or delete."""
    if args.delete:
        return delete(args.delete, args.yes, args.json)
    if args.compare:
        from engine.cli.compare_table import compared, lines, to_json

        results, settings = compared(names_of(args.compare))
        print(
            json.dumps(to_json(results, settings), indent=1)
            if args.json
            else "\n".join(lines(results, settings))
        )
        return 0
    if args.export_status:
        from engine.cli.export_status import show_status

        return show_status(args.json)
    removing.empty_trash()
    states = list_runs()
    if args.json:
        print(json.dumps([state.to_dict() for state in states], indent=1))
        return 0
    if not states:
        print(f"No runs yet in {runs_home()}. Start one with: finetui demo")
        return 0
    width = max(4, *(len(state.name) for state in states))
    print(f"{'NAME':<{width}}  {'STATE':<9} {'STEP':>13}  {'LOSS':>7}  {'EVAL':>7}  STARTED           METHOD")
    for state in states:
        print(_line(state, width))
    for sweep in list_sweeps():
        print(f"Sweep {sweep.name}: {sweep.words}. Compare: finetui runs --compare {sweep.name}")
    return 0


def delete(names: Sequence[str], yes: bool, as_json: bool) -> int:
    """Delete runs; all are looked at before the first is touched.

    Raises:
        UserError: There is no such run, one is going on, or nobody can be asked and ``--yes`` was not given.
    """
    sweeps = [
        sweep for sweep in list_sweeps() if sweep.name in names and not (runs_home() / sweep.name).is_dir()
    ]
    listed = {entry.name for sweep in sweeps for entry in sweep.entries} - set(names)
    # Of a sweep some runs may have been deleted before; a run that was named must be there.
    wanted = [name for name in names_of(names) if name not in listed or (runs_home() / name).is_dir()]
    runs = [find_run(name) for name in wanted]
    for run in runs:
        removing.require_removable(run)
    sizes = {run.name: removing.size_of(run.path) for run in runs}
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UserError(
                f"This deletes {_count(len(runs))}, {removing.size_words(sum(sizes.values()))}, and nobody can be asked here.",
                ", ".join(sizes),
                "To delete without being asked, add: --yes",
            )
        for name, size in sizes.items():
            print(f"{name}  {removing.size_words(size)}")
        print(
            f"Delete {_count(len(runs))} with checkpoints and results, {removing.size_words(sum(sizes.values()))}? It cannot be undone."
        )
        if input("Type yes to delete: ").strip().lower() not in ("y", "yes"):
            print("Nothing was deleted.")
            return 0
    for run in runs:
        removing.remove(run)
        if not as_json:
            print(f"Deleted {run.name}, {removing.size_words(sizes[run.name])}.", flush=True)
    for sweep in sweeps:
        removing.remove_sweep(sweep)
        if not as_json:
            print(f"Deleted the sweep {sweep.name}.")
    if as_json:
        print(json.dumps([{"name": name, "bytes": size} for name, size in sizes.items()], indent=1))
    return 0


def _count(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _line(state: RunState, width: int) -> str:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.started))
    step = f"{state.step}/{state.max_steps or '?'}"
    return (
        f"{state.name:<{width}}  {state.state:<9} {step:>13}  {_loss(state.loss):>7}  {_loss(state.eval_loss):>7}  "
        f"{started}  {printable(state.method, 40)}"
        + (f"  ({printable(state.changed, 120)})" if state.changed else "")
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
