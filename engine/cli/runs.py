"""List all runs, newest first; or put some side by side."""

from __future__ import annotations

import argparse
import json
import time

from engine.cli.main import Parser, Screen
from engine.display import printable
from engine.run.home import runs_home
from engine.run.state import RunState, list_runs
from engine.run.sweeps import list_sweeps, names_of

EXAMPLE = "finetui runs --json"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="RUN",
        help="settings that differ between these runs, and what came of it; a sweep stands for all its runs",
    )
    parser.add_argument("--json", action="store_true", help="a JSON list of objects")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Print the list, or the table."""
    if args.compare:
        from engine.cli.compare_table import compared, lines, to_json

        results, settings = compared(names_of(args.compare))
        print(
            json.dumps(to_json(results, settings), indent=1)
            if args.json
            else "\n".join(lines(results, settings))
        )
        return 0
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
