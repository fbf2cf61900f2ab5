"""An automatic decision that explains itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """A value finetui picked, with the reason shown beside it.

    Attributes:
        value: What was chosen.
        reason: One plain sentence with the numbers in it.
        alternatives: Other values that would work, best first.
    """

    value: T
    reason: str
    alternatives: tuple[T, ...] = ()
