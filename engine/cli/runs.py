"""List all runs, newest first."""

from __future__ import annotations

import argparse
import json
import time

from engine.cli.main import Parser, Screen
from engine.display import printable
from engine.run.home import runs_home
from engine.run.state import RunState, list_runs

EXAMPLE = "finetui runs --json"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("--json", action="store_true", help="a JSON list of objects")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Print the list."""
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
    return 0


def _line(state: RunState, width: int) -> str:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.started))
    step = f"{state.step}/{state.max_steps or '?'}"
    return (
        f"{state.name:<{width}}  {state.state:<9} {step:>13}  {_loss(state.loss):>7}  {_loss(state.eval_loss):>7}  "
        f"{started}  {printable(state.method, 40)}"
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
