"""Which few layers stand for all of them. Plain Python."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sketch:
    """A short model that has every kind of layer, and every pair of neighbours, of the full one.

    Attributes:
        chosen: For each layer of the short model, the index of a layer of the full model.
        kinds: Kind of each layer of the full model; the first and the last of a kind are kinds of their own.
        short_kinds: Kind of each layer of the short model.
    """

    chosen: tuple[int, ...]
    kinds: tuple[Hashable, ...]
    short_kinds: tuple[Hashable, ...]

    @property
    def depth(self) -> int:
        """Layers of the full model."""
        return len(self.kinds)

    @property
    def complete(self) -> bool:
        """Every layer is simulated, so nothing has to be extended."""
        return len(self.chosen) == len(self.kinds)


def sketch(signatures: Sequence[Hashable]) -> Sketch:
    """Choose layers for a short model.

    Args:
        signatures: For each layer something that is equal where layers are built alike.

    Returns:
        Layers in an order in which every pair of neighbouring kinds of the full model occurs, with one kind of
        inner layer twice in a row where the full model has that, so that the pattern can be compared with itself.
    """
    depth = len(signatures)
    first = {signature: index for index, signature in reversed(list(enumerate(signatures)))}
    last = {signature: index for index, signature in enumerate(signatures)}
    # What layers of a kind share, such as a mask, is made for the first and dropped by the last of them.
    kinds: tuple[Hashable, ...] = tuple(
        (index in (0, first[signature]), index in (depth - 1, last[signature]), signature)
        for index, signature in enumerate(signatures)
    )
    if depth <= 4:
        return Sketch(tuple(range(depth)), kinds, kinds)
    following: dict[Hashable, list[Hashable]] = {}
    for kind, after in itertools.pairwise(kinds):
        if after not in following.setdefault(kind, []):
            following[kind].append(after)
    walk: list[Hashable] = [kinds[0]]
    seen: set[tuple[Hashable, Hashable]] = set()
    for kind, after in itertools.pairwise(kinds):
        if (kind, after) in seen:
            continue
        for step in [*_path(following, walk[-1], kind), after]:
            seen.add((walk[-1], step))
            walk.append(step)
    if len(walk) >= depth:
        return Sketch(tuple(range(depth)), kinds, kinds)
    unused = {kind: deque(i for i, other in enumerate(kinds) if other == kind) for kind in set(kinds)}
    chosen = []
    for kind in walk:
        unused[kind].rotate(-1)
        chosen.append(unused[kind][-1])
    return Sketch(tuple(chosen), kinds, tuple(walk))


def _path(following: dict[Hashable, list[Hashable]], start: Hashable, end: Hashable) -> list[Hashable]:
    """Shortest way from one kind to another along neighbours of the full model, without the start."""
    if start == end:
        return []
    reached: dict[Hashable, Hashable] = {start: start}
    queue = deque([start])
    while queue:
        kind = queue.popleft()
        for after in following.get(kind, []):
            if after not in reached:
                reached[after] = kind
                queue.append(after)
    path = [end]
    while reached[path[-1]] != start:
        path.append(reached[path[-1]])
    return path[::-1]
