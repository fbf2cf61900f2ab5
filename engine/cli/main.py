"""Finding the verb and turning errors into three lines and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from engine.display import printable
from engine.errors import UserError

VERBS = {
    "demo": "train the embedded tiny model, about a minute, no network needed",
    "fit": "predict the GPU memory of a run before it starts",
    "hub": "find, check and download models and datasets of the Hugging Face Hub",
    "data": "check, repair and count a dataset; see a row as the model does",
    "doctor": "check GPU, driver, libraries, memory and disks",
    "train": "start the run that a run.yaml describes",
    "sweep": "try several values of a setting, one run after the other",
    "runs": "list all runs, or compare some",
    "attach": "watch a run; leaving does not stop it",
    "logs": "print the log of a run",
    "stop": "stop a run, saving a checkpoint first",
    "resume": "continue a run from its last checkpoint",
    "chat": "talk to the trained model",
}

# Opens a screen: (screen name, run name) -> exit code. Given by the viewer, so that this package needs no textual.
Screen = Callable[[str, str | None], int]

EXIT_CODES = "Exit codes: 0 done, 1 internal error, 2 something you can put right, 3 stopped."


class Parser(argparse.ArgumentParser):
    """argparse with our three-line errors and full names only."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"The command line is not right: {message}.", self.prog, f"See: {self.prog} --help")


def main(argv: Sequence[str], screen: Screen | None = None) -> int:
    """Run a verb.

    Args:
        argv: The arguments after ``finetui``.
        screen: How to open a screen; None where there is none.

    Returns:
        The exit code of the process.
    """
    try:
        return _dispatch(list(argv), screen)
    except UserError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; Python must not try to flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from engine.cli.crash import write_crash

        path = write_crash()
        print(
            f"Internal error: {printable(repr(error), 300)} (details: {path}). Runs that go on are not touched.",
            file=sys.stderr,
        )
        return 1


def print_error(error: UserError) -> None:
    """The three lines of a user error, on standard error."""
    for line in error.lines():
        print(printable(line), file=sys.stderr)


def overview() -> str:
    """What ``finetui --help`` prints."""
    verbs = "\n".join(f"  {name:<8} {text}" for name, text in VERBS.items())
    return (
        "usage: finetui [VERB] [options]\n"
        "Fine-tune language models from the terminal. Without a verb: the wizard.\n\n"
        f"Verbs:\n{verbs}\n\n"
        "Help for one verb: finetui VERB --help        Version: finetui --version\n"
        "Start here:        finetui demo\n\n"
        f"Runs live in FINETUI_HOME (see finetui doctor).\n{EXIT_CODES}"
    )


def _dispatch(argv: list[str], screen: Screen | None) -> int:
    if not argv:
        if screen is not None and interactive():
            return screen("home", None)
        print(overview())
        return 0
    verb, *rest = argv
    if verb in ("-h", "--help", "help"):
        print(overview())
        return 0
    if verb in ("-V", "--version"):
        from importlib.metadata import version

        print(f"finetui {version('finetui')}")
        return 0
    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, 1, 0.5)
        raise UserError(
            f"finetui has no verb {printable(verb, 40)!r}.",
            "command line",
            f"Did you mean: finetui {near[0]}?" if near else "See: finetui --help",
        )
    module = importlib.import_module(f"engine.cli.{verb}")
    parser = Parser(
        prog=f"finetui {verb}",
        description=module.__doc__,
        epilog=f"Example: {module.EXAMPLE}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    try:
        args = parser.parse_args(rest)
    except SystemExit as leave:  # --help
        return int(leave.code or 0)
    return int(module.run(args, screen if interactive() else None))


def interactive() -> bool:
    """Whether a person sits at a terminal that can show a screen."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")
