"""Print the log of a run: everything the trainer wrote."""

from __future__ import annotations

import argparse
import time

from engine.cli.main import Parser, Screen
from engine.display import printable
from engine.errors import UserError
from engine.run.state import find_run, is_live

EXAMPLE = "finetui logs -f demo"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "name", nargs="?", metavar="RUN", help="default: the run that is going on, else the newest"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing until the run ends")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Print the lines, made harmless for the terminal."""
    found = find_run(args.name)
    try:
        handle = open(found.log, encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below, after following
    except OSError as error:
        raise UserError(
            f"The log cannot be read: {error.strerror}.", str(found.log), "Has the run been started?"
        ) from None
    with handle:
        pending = ""
        while True:
            alive = is_live(found)
            pending += handle.read(1 << 20)
            *lines, pending = pending.split("\n")
            for line in lines:
                print(printable(line.rstrip("\r"), 5000))
            if lines:
                continue
            if not args.follow or not alive:
                if pending:
                    print(printable(pending, 5000))
                return 0
            time.sleep(0.5)
