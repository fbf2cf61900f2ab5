"""After a start: the live screen where there is a terminal, plain lines where there is none, or nothing."""

from __future__ import annotations

import argparse
import sys

from engine.cli.follow import follow
from engine.cli.main import Parser, Screen, why_plain
from engine.run.layout import RunDir


def add_watch_options(parser: Parser) -> None:
    """``--detach``, ``--plain`` and ``--json``, the same for every verb that starts or watches a run."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--detach", action="store_true", help="start in the background and return at once")
    add_plain_options(how)


def add_plain_options(group: argparse._MutuallyExclusiveGroup) -> None:
    """``--plain`` and ``--json``."""
    group.add_argument("--plain", action="store_true", help="plain lines instead of the live screen")
    group.add_argument("--json", action="store_true", help="the run's events, one JSON object a line")


def watch(run: RunDir, args: argparse.Namespace, screen: Screen | None) -> int:
    """Show a started run as the options say; returns the exit code."""
    if getattr(args, "detach", False):
        print(run.name)
        print(f"Started in the background. Watch: finetui attach {run.name}   Folder: {run.path}")
        return 0
    if screen is not None and not args.plain and not args.json:
        return screen("monitor", run.name)
    if not args.json:
        if sys.stdout.isatty() and not args.plain and (why := why_plain()):
            print(why)
        print(f"Run {run.name} in {run.path}")
        print("You can close this window; training continues. Back: finetui attach " + run.name)
    return follow(run, as_json=args.json)
