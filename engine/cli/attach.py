"""Watch a run. Leaving does not stop it, and several may watch at once."""

from __future__ import annotations

import argparse

from engine.cli.main import Parser, Screen
from engine.cli.watch import add_plain_options, watch
from engine.run.state import find_run

EXAMPLE = "finetui attach demo"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "name", nargs="?", metavar="RUN", help="default: the run that is going on, else the newest"
    )
    add_plain_options(parser.add_mutually_exclusive_group())


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Open the monitor, or print lines."""
    return watch(find_run(args.name), args, screen)
