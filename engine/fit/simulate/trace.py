"""A recorded sequence of allocations and releases. Plain Python: it is saved, extended and replayed without torch."""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

OUTSIDE = -1  # the label of what belongs to no layer


class Event(NamedTuple):
    """One allocation or release."""

    kind: Literal["alloc", "free"]
    identity: int
    bytes: int
    phase: str


@dataclass(slots=True)
class Trace:
    """Events as they happened.

    Attributes:
        first_id: Identity of the first allocation; earlier ones belong to an earlier trace of the same run.
        events: Above 0: an allocation of that many bytes, which gets the next identity. Otherwise ``-identity - 1``
            of the allocation that is released.
        marks: ``(index of the next event, name of the phase that begins)``.
        allocations: How many events are allocations.
    """

    first_id: int = 0
    events: array[int] = field(default_factory=lambda: array("q"))
    marks: list[tuple[int, str]] = field(default_factory=list)
    allocations: int = 0

    def mark(self, name: str) -> None:
        """Note that a phase begins."""
        self.marks.append((len(self.events), name))

    def rows(self) -> Iterator[Event]:
        """Every event in words; releases of an earlier trace's allocations have 0 bytes."""
        sizes: dict[int, int] = {}
        phase, marks = "", iter([*self.marks, (len(self.events) + 1, "")])
        at, name = next(marks)
        for index, event in enumerate(self.events):
            while at <= index:
                phase = name
                at, name = next(marks)
            if event > 0:
                identity = self.first_id + len(sizes)
                sizes[identity] = event
                yield Event("alloc", identity, event, phase)
            else:
                yield Event("free", -event - 1, sizes.get(-event - 1, 0), phase)

    def to_bytes(self) -> bytes:
        """Compressed, about a byte an event: identities are stored as distances, which repeat from layer to layer."""
        allocated = self.first_id
        relative = array("q")
        for event in self.events:
            relative.append(event if event > 0 else -event - 1 - allocated)
            allocated += event > 0
        head = json.dumps({"first_id": self.first_id, "marks": self.marks}).encode()
        return zlib.compress(struct.pack("<I", len(head)) + head + relative.tobytes(), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> Trace:
        """What `to_bytes` wrote."""
        raw = zlib.decompress(data)
        (length,) = struct.unpack_from("<I", raw)
        head = json.loads(raw[4 : 4 + length])
        relative = array("q")
        relative.frombytes(raw[4 + length :])
        trace = cls(head["first_id"], marks=[(at, name) for at, name in head["marks"]])
        for number in relative:
            if number > 0:
                trace.events.append(number)
                trace.allocations += 1
            else:
                trace.events.append(-(number + trace.first_id + trace.allocations) - 1)
        return trace


@dataclass(slots=True)
class Recording(Trace):
    """A trace of a few layers, each event with its layer.

    Attributes:
        labels: The layer of each event, or ``OUTSIDE``.
    """

    labels: array[int] = field(default_factory=lambda: array("h"))

    def allocate(self, size: int, label: int) -> int:
        """Note an allocation; returns its identity."""
        self.events.append(size)
        self.labels.append(label)
        self.allocations += 1
        return self.first_id + self.allocations - 1

    def release(self, identity: int, label: int) -> None:
        """Note a release."""
        self.events.append(-identity - 1)
        self.labels.append(label)
