"""The one error type for everything a user can cause."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: shown as three lines, without a traceback, exit code 2.

    Attributes:
        what: What went wrong, one sentence.
        where: The file, line, key or device it concerns.
        fix: What to do about it.
    """

    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} ({self.where}) {self.fix}"

    def lines(self) -> list[str]:
        """The three lines as printed."""
        return [f"Error: {self.what}", f"Where: {self.where}", f"Fix:   {self.fix}"]
