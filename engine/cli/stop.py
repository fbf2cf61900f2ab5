"""Stop a run: save a checkpoint first, or at once with --now."""

from __future__ import annotations

import argparse
import time

from engine.cli.main import Parser, Screen
from engine.errors import UserError
from engine.run import control
from engine.run.layout import RunDir
from engine.run.state import find_run, is_live, read_state

EXAMPLE = "finetui stop demo"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--now", action="store_true", help="do not save; killed after 5 seconds if it does not end"
    )
    add_run_options(parser)


def add_run_options(parser: Parser) -> None:
    """The run to end, and how long to wait for it."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="default: the run that is going on")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="how long to wait for the end"
    )


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Ask the trainer and wait until it has ended."""
    found = find_run(args.name, only_live=True)
    if args.now:
        return end(found, "stop-now", "stop at once", args.timeout)
    return end(found, "stop-and-save", "save a checkpoint and stop", args.timeout)


def end(found: RunDir, what: str, words: str, timeout: float) -> int:
    """Ask a run to end in one of the ways of `engine.run.control.STOPS`, and wait until it has.

    Args:
        found: The run.
        what: The request.
        words: The same for people.
        timeout: Seconds to wait.

    Raises:
        UserError: It cannot be asked, or has not ended in time.
    """
    if not is_live(found):
        print(f"{found.name} is not running: {read_state(found).words}")
        return 0
    try:
        control.request(found, what)
    except OSError as error:
        raise UserError(
            f"The request cannot be written: {error.strerror}.",
            str(found.control),
            "Check the folder's permissions and the disk.",
        ) from None
    print(f"Asked {found.name} to {words} ...", flush=True)
    deadline = time.monotonic() + timeout
    while is_live(found):
        if time.monotonic() > deadline:
            raise UserError(
                f"It has not ended after {timeout:.0f} s; it may be in the middle of a long step.",
                found.name,
                f"Wait longer, or stop it at once: finetui stop {found.name} --now",
            )
        time.sleep(0.2)
    print(read_state(found).words)
    return 0
