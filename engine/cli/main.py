"""Finding the verb and turning errors into three lines and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from engine.display import printable
from engine.errors import UserError

OVERVIEW = (
    ("demo", "train the embedded tiny model, about a minute, no network"),
    ("doctor", "check GPU, driver, libraries, memory and disks"),
    ("fit", "predict the GPU memory of a run before it starts"),
    ("hub", "find, check and download what the Hugging Face Hub has"),
    ("data", "check, repair and count a dataset; see a row as the model does"),
    ("train", "start the run that a run.yaml describes"),
    ("sweep", "try several values of a setting, one run after the other"),
    ("runs", "list, compare or delete runs; which are only on this machine"),
    ("attach, logs", "watch a run (leaving does not stop it), print its log"),
    ("stop, pause", "save a checkpoint, then end the run or free the GPU for a while"),
    ("resume", "continue a run from its last checkpoint"),
    ("chat, compare", "talk to the trained model; the same questions to it and the base"),
    ("eval", "measure whether the trained model is better, and how surely"),
    ("export", "take it home: adapter, merged, GGUF, Ollama, Hub"),
    ("convert", "go on with TRL, LLaMA-Factory, Axolotl or Unsloth, and back"),
    ("keys", "every key of the screens, and how to change them"),
)
"""A line of ``finetui --help`` each: verbs, and what they do."""

VERBS = {verb: words for verbs, words in OVERVIEW for verb in verbs.split(", ") if verb != "keys"}
"""Those that are here; ``keys`` is the viewer's own, because the table of keys is."""


class Screen(Protocol):
    """Opens a screen and returns the exit code. Given by the viewer, so that this package needs no textual."""

    def __call__(self, name: str, run_name: str | None, **options: Any) -> int:
        """Open the screen of that name.

        Args:
            name: ``home``, ``monitor`` or ``chat``.
            run_name: The run it is about.
            options: What else the screen begins with.
        """
        ...


PLAIN, SCREEN_READER, NO_MOUSE = "FINETUI_PLAIN", "FINETUI_SCREEN_READER", "FINETUI_NO_MOUSE"
LOOKS = {"--plain": PLAIN, "--screen-reader": SCREEN_READER, "--no-mouse": NO_MOUSE}
"""Options before the verb, and the variables that set them for good."""

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
    return guarded(lambda: _dispatch(list(argv), screen))


def guarded(work: Callable[[], int]) -> int:
    """Do the work of a verb; its errors become three lines, or one and a file, and an exit code."""
    try:
        return work()
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
    """What ``finetui --help`` prints; short enough for a small terminal."""
    verbs = "\n".join(f"  {verbs:<13}  {text}" for verbs, text in OVERVIEW)
    return (
        "usage: finetui [--plain | --screen-reader] [--no-mouse] [VERB] [options]\n"
        "Fine-tune language models from the terminal. Without a verb: the wizard.\n\n"
        f"{verbs}\n\n"
        "Start here: finetui demo    One verb: finetui VERB --help   finetui --version\n"
        "--plain and --screen-reader: questions and lines instead of screens.\n"
        f"{EXIT_CODES}"
    )


def _dispatch(argv: list[str], screen: Screen | None) -> int:
    while argv and argv[0] in LOOKS:
        os.environ[LOOKS[argv.pop(0)]] = "1"  # in the environment, so that nobody has to hand it on
    if not argv:
        if screen is not None and interactive():
            return screen("home", None)
        if sys.stdin.isatty() and sys.stdout.isatty():
            from engine.cli.plain_wizard import run_wizard

            return run_wizard()
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
    """Whether a person sits at a terminal that can show a screen, and wants one."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not why_plain()


def why_plain() -> str:
    """Why a person at a terminal gets plain lines, in a sentence; empty where screens can be shown."""
    if is_set(SCREEN_READER):
        return "Plain lines for a screen reader."
    if is_set(PLAIN):
        return "Plain lines, as asked for."
    term = os.environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        name = f"TERM={term}" if term else "TERM is not set, so this terminal"
        return f"Plain lines, because {name} cannot show screens."
    return ""


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "no", "false")
