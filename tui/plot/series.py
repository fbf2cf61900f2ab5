"""A curve of any length in constant memory, in which a spike of one step stays visible."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import add
from typing import NamedTuple

SMALLEST = 1e-300  # what is nearer to zero has no place on a logarithmic axis
LARGEST = 1e300  # sums and spans of values up to this size stay finite; beyond it a value counts as infinite


class Bucket(NamedTuple):
    """Neighbouring points, summarised.

    Attributes:
        x0: x of the first point.
        x1: x of the last point.
        n: Number of finite values.
        bad: Number of values that are NaN or infinite.
        mean: Mean of the finite values, NaN without any.
        low: Smallest finite value, ``inf`` without any.
        high: Largest finite value, ``-inf`` without any.
        last: The last value, finite or not.
    """

    x0: float
    x1: float
    n: int
    bad: int
    mean: float
    low: float
    high: float
    last: float


class Series:
    """Points in the order of x, kept as at most ``capacity`` buckets.

    When all buckets are full, neighbours are merged in pairs and each bucket takes twice as many points from
    then on. Minimum and maximum survive merging, so a spike is never averaged away.
    """

    def __init__(self, name: str, capacity: int = 2048) -> None:
        """Make an empty series.

        Args:
            name: What the values are, for the legend.
            capacity: Most buckets kept; even and at least 2.

        Raises:
            ValueError: If the capacity is odd or too small.
        """
        if capacity < 2 or capacity % 2:
            raise ValueError(f"capacity must be even and at least 2, not {capacity}")
        self.name = name
        self.capacity = capacity
        self.stride = 1
        """Points per full bucket."""
        self.revision = 0
        """Grows with every change, so that a viewer sees at no cost whether there is anything new."""
        self.generation = 0
        """Grows when other buckets than the last have changed."""
        self._clear()

    def _clear(self) -> None:
        self.generation += 1
        self.stride = 1
        self._open = 0  # points the last bucket still takes
        self._x0 = array("d")
        self._x1 = array("d")
        self._middle = array("d")  # of x0 and x1, kept because charts look buckets up by it
        self._n = array("q")
        self._bad = array("q")
        self._total = array("d")
        self._low = array("d")
        self._high = array("d")
        self._last = array("d")

    def append(self, x: float, y: float) -> None:
        """Add one point; O(1) on average.

        An x before the last one counts as the last one, because time does not run backwards in a curve (see
        :meth:`truncate_after`); a point whose x is not a number has no place and is ignored.
        """
        if not -LARGEST <= x <= LARGEST:
            return
        self.revision += 1
        finite = -LARGEST <= y <= LARGEST
        if not self._open:
            if len(self._x0) == self.capacity:
                self._merge()
            if self._x1 and x < self._x1[-1]:
                x = self._x1[-1]
            self._x0.append(x)
            self._x1.append(x)
            self._middle.append(x)
            self._n.append(finite)
            self._bad.append(not finite)
            self._total.append(y if finite else 0.0)
            self._low.append(y if finite else math.inf)
            self._high.append(y if finite else -math.inf)
            self._last.append(y)
            self._open = self.stride - 1
            return
        self._open -= 1
        self._last[-1] = y
        if x > self._x1[-1]:
            self._x1[-1] = x
            self._middle[-1] = (self._x0[-1] + x) / 2
        if not finite:
            self._bad[-1] += 1
            return
        self._n[-1] += 1
        self._total[-1] += y
        if y < self._low[-1]:
            self._low[-1] = y
        if y > self._high[-1]:
            self._high[-1] = y

    def _merge(self) -> None:
        self.generation += 1
        self.stride *= 2
        self._x0 = self._x0[0::2]
        self._x1 = self._x1[1::2]
        self._middle = array("d", ((a + b) / 2 for a, b in zip(self._x0, self._x1, strict=True)))
        self._last = self._last[1::2]
        self._n = array("q", map(add, self._n[0::2], self._n[1::2]))
        self._bad = array("q", map(add, self._bad[0::2], self._bad[1::2]))
        self._total = array("d", map(add, self._total[0::2], self._total[1::2]))
        self._low = array("d", map(min, self._low[0::2], self._low[1::2]))
        self._high = array("d", map(max, self._high[0::2], self._high[1::2]))

    def truncate_after(self, x: float) -> None:
        """Forget what came after ``x``: a resumed run plays those steps again.

        A bucket that reaches beyond ``x`` is dropped whole, and up to ``stride`` earlier points with it.
        """
        keep = bisect_right(self._x1, x)
        if keep == len(self._x1):
            return
        self.revision += 1
        if keep == 0:
            self._clear()
            return
        self.generation += 1
        for column in self._columns():
            del column[keep:]
        self._open = 0

    def _columns(self) -> Sequence[array[float] | array[int]]:
        ends = (self._x0, self._x1, self._middle)
        return (*ends, self._n, self._bad, self._total, self._low, self._high, self._last)

    def __len__(self) -> int:
        """Number of buckets."""
        return len(self._x0)

    def __bool__(self) -> bool:
        """Whether there is any point."""
        return bool(self._x0)

    @property
    def first_x(self) -> float | None:
        """x of the first point."""
        return self._x0[0] if self._x0 else None

    @property
    def last_x(self) -> float | None:
        """x of the last point."""
        return self._x1[-1] if self._x1 else None

    @property
    def last_middle(self) -> float | None:
        """The middle between the ends of the last bucket."""
        return self._middle[-1] if self._middle else None

    @property
    def last(self) -> float | None:
        """The last value, finite or not."""
        return self._last[-1] if self._last else None

    @property
    def min(self) -> float | None:
        """The smallest finite value of all."""
        low = min(self._low, default=math.inf)
        return low if low < math.inf else None

    @property
    def max(self) -> float | None:
        """The largest finite value of all."""
        high = max(self._high, default=-math.inf)
        return high if high > -math.inf else None

    def bounds(self, x0: float, x1: float, positive: bool = False) -> tuple[float, float] | None:
        """Smallest and largest finite value in a range of x, of the positive ones only if asked."""
        start, stop = self._touching(x0, x1)
        low, high = self._low[start:stop], self._high[start:stop]
        if positive:
            values = [v for v in (*low, *high) if SMALLEST < v < math.inf]
            return (min(values), max(values)) if values else None
        if not low or min(low) == math.inf:
            return None
        return min(low), max(high)

    def has_bad(self, x0: float, x1: float) -> bool:
        """Whether a value in a range of x is NaN or infinite."""
        start, stop = self._touching(x0, x1)
        return any(self._bad[start:stop])

    def _touching(self, x0: float, x1: float) -> tuple[int, int]:
        return bisect_left(self._x1, x0), bisect_right(self._x0, x1)

    def window(self, x0: float = -math.inf, x1: float = math.inf) -> Iterator[Bucket]:
        """Buckets that touch the range from ``x0`` to ``x1``, in order."""
        for i in range(*self._touching(x0, x1)):
            yield self._bucket(i, i + 1)

    def at(self, x: float) -> Bucket | None:
        """What is known at ``x``: the bucket that holds it, or the last one before it."""
        i = bisect_right(self._x0, x) - 1
        return self._bucket(i, i + 1) if i >= 0 else None

    def nearest(self, x: float) -> Bucket | None:
        """The bucket that holds ``x`` or is nearest to it; None without any."""
        if not self._x0:
            return None
        i = max(0, bisect_right(self._x0, x) - 1)
        if i + 1 < len(self._x0) and self._x0[i + 1] - x < x - self._x1[i]:
            i += 1
        return self._bucket(i, i + 1)

    def columns(self, x0: float, x1: float, count: int, start: int = 0) -> list[Bucket | None]:
        """Summarise a range of x in equal parts, the way a chart needs it.

        Args:
            x0: Left end.
            x1: Right end, larger than ``x0``.
            count: Number of parts.
            start: Leave out this many parts at the left.

        Returns:
            One bucket per part, None where a part holds no point. A bucket belongs to the part that holds its
            middle.
        """
        step = (x1 - x0) / count
        parts: list[Bucket | None] = []
        left, stop = bisect_left(self._middle, x0 + start * step), bisect_right(self._middle, x1)
        for part in range(start + 1, count + 1):
            if left >= stop:
                parts += [None] * (count + 1 - part)
                break
            right = bisect_left(self._middle, x0 + part * step, left, stop) if part < count else stop
            parts.append(self._bucket(left, right) if right > left else None)
            left = right
        return parts

    def _bucket(self, i: int, j: int) -> Bucket:
        """Buckets i to j as one."""
        if j - i == 1:
            n, bad, total = self._n[i], self._bad[i], self._total[i]
            low, high = self._low[i], self._high[i]
        else:
            n, bad, total = sum(self._n[i:j]), sum(self._bad[i:j]), sum(self._total[i:j])
            low, high = min(self._low[i:j]), max(self._high[i:j])
        # Rounding may carry the mean of equal values just outside their range.
        mean = min(max(total / n, low), high) if n else math.nan
        return Bucket(self._x0[i], self._x1[j - 1], n, bad, mean, low, high, self._last[j - 1])
