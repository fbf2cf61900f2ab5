"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it.

    Attributes:
        severity: ``ok``; ``note`` (good to know); ``warning`` (may hurt); ``problem`` (stops training, or
            stops it from using the GPU).
        title: What was looked at, two or three words.
        detail: What was found, with the numbers.
        fix: What to do; empty when there is nothing to do.
    """

    severity: Severity
    title: str
    detail: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain values for ``--json``."""
        return asdict(self)
