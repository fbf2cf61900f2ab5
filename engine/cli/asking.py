"""Questions in plain lines: a number for each choice, the usual answer with Enter alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.cli.main import print_error
from engine.errors import UserError

HELP = "Type a number and Enter. Enter alone takes the answer that is named. b: one step back. q: leave; answers are kept."
Option = tuple[str, str]
"""Id and words."""


class LeaveError(Exception):
    """The user wants to leave."""


class BackError(Exception):
    """The user wants to go back one step."""


def ask(prompt: str, default: str = "") -> str:
    """One line; Enter alone gives the default.

    Raises:
        LeaveError: The user wants to leave.
        BackError: The user wants to go back.
        EOFError: There is nobody to ask any more.
    """
    while True:
        answer = input(f"{prompt}: ").strip()
        if answer in ("q", "Q"):
            raise LeaveError
        if answer in ("b", "B"):
            raise BackError
        if answer != "?":
            return answer or default
        print(HELP)


def choose(title: str, options: Sequence[Option], default: str) -> str:
    """A list with numbers; returns the id of the chosen one."""
    print(title)
    for number, (_, words) in enumerate(options, 1):
        print(f"  {number}. {words}")
    ids = [name for name, _ in options]
    normal = ids.index(default) + 1 if default in ids else 1
    while True:
        answer = ask(f"Number, or Enter for {normal}", str(normal))
        if answer.isascii() and answer.isdigit() and 1 <= int(answer[:4]) <= len(ids):
            return ids[int(answer[:4]) - 1]
        print(f"That is none of the numbers 1 to {len(ids)}.")


def ask_until_right(prompt: str, default: str, check: Callable[[str], object]) -> str:
    """A line that is asked for until the check, which raises `UserError`, lets it pass."""
    while True:
        value = ask(prompt, default)
        try:
            check(value)
        except UserError as error:
            print_error(error)
        else:
            return value
