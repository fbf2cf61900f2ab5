"""Continue a run from its last checkpoint, exactly as if it had never been interrupted."""

from __future__ import annotations

import argparse

from engine.cli.main import Parser, Screen
from engine.cli.watch import add_watch_options, watch
from engine.config.resume import resume
from engine.run.state import find_run

EXAMPLE = "finetui resume demo"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="default: the newest run")
    add_watch_options(parser)


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Start the trainer again on the same run directory."""
    found = find_run(args.name)
    resume(found)
    return watch(found, args, screen)
