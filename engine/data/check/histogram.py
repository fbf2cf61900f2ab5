"""Counts of lengths in a few thousand bins, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

_BITS = 8  # lengths up to 256 are exact, longer ones right to 1/256


@dataclass(slots=True)
class Histogram:
    """How often each length occurs; longer ones are rounded by less than half a percent.

    Attributes:
        bins: Bin to count.
    """

    bins: dict[int, int] = field(default_factory=dict)

    def add(self, length: int) -> None:
        """Count one row."""
        shift = max(0, length.bit_length() - _BITS - 1)
        key = (length >> shift) << shift
        self.bins[key] = self.bins.get(key, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Add the counts of another one."""
        for key, count in other.bins.items():
            self.bins[key] = self.bins.get(key, 0) + count

    @property
    def rows(self) -> int:
        """Number of rows counted."""
        return sum(self.bins.values())

    @property
    def total(self) -> int:
        """Sum of all lengths, rounded as they are."""
        return sum(key * count for key, count in self.bins.items())

    def percentiles(self, shares: Iterable[float]) -> list[int]:
        """The lengths that the given shares of the rows do not exceed; zeros without rows."""
        rows = self.rows
        values = sorted(self.bins)
        running = list(accumulate(self.bins[value] for value in values))
        found: list[int] = []
        for share in shares:
            left = max(1, share * rows)
            reached = (value for value, below in zip(values, running, strict=True) if below >= left - 1e-9)
            found.append(next(reached, 0))
        return found

    def share_over(self, limit: int) -> float:
        """Share of the rows that are longer than a limit."""
        return sum(count for key, count in self.bins.items() if key > limit) / max(1, self.rows)

    def tokens_within(self, limit: int) -> int:
        """Sum of all lengths where each is cut at a limit."""
        return sum(min(key, limit) * count for key, count in self.bins.items())
