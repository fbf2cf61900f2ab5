"""A sequence of allocations and releases, run through the allocator model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from engine.fit.allocator import CachingAllocator
from engine.fit.allocator_blocks import Block, OutOfMemory
from engine.fit.allocator_config import AllocatorConfig


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest use in one section of a sequence, each number at its own moment.

    Attributes:
        allocated: Bytes in tensors, rounded as the allocator rounds.
        reserved: Bytes held from the driver.
    """

    allocated: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sequence of tensors needed.

    Attributes:
        sections: Peaks of the stretches the sequence was cut into; one for the whole when it was not cut.
        allocated: Bytes in tensors at the end.
        reserved: Bytes held at the end.
        out_of_memory: Index of the event that did not fit; None when all did.
        retries: How often cached segments had to be given back first.
    """

    sections: tuple[Peak, ...]
    allocated: int
    reserved: int
    out_of_memory: int | None
    retries: int

    @property
    def peak_allocated(self) -> int:
        """``torch.cuda.max_memory_allocated()``."""
        return max(peak.allocated for peak in self.sections)

    @property
    def peak_reserved(self) -> int:
        """``torch.cuda.max_memory_reserved()``."""
        return max(peak.reserved for peak in self.sections)


def replay(
    events: Sequence[int],
    config: AllocatorConfig | None = None,
    capacity: int | None = None,
    cuts: Sequence[int] = (),
    empties: Collection[int] = (),
) -> Usage:
    """Run a sequence of allocations and releases through the allocator.

    Args:
        events: A number above 0 allocates that many bytes and gets the next free id, counted from 0; ``-id - 1``
            releases the allocation with that id.
        config: Allocator settings; PyTorch's defaults when left out.
        capacity: Bytes the device has for this process; None for no limit.
        cuts: Indices of events, ascending, at which a new section begins.
        empties: Those of them before which ``torch.cuda.empty_cache()`` is called.

    Returns:
        Peaks of each section and the final use. Stops at the first event that does not fit.
    """
    allocator = CachingAllocator(config or AllocatorConfig(), capacity)
    stats = allocator.stats
    blocks: list[Block | None] = []
    sections: list[Peak] = []
    failed: int | None = None
    malloc, free, keep = allocator.malloc, allocator.free, blocks.append
    index = 0
    for end in [*cuts, len(events)]:
        if index in empties:
            allocator.empty_cache()
            allocator.reset_peaks()
        try:
            for event in events[index:end]:
                if event > 0:
                    keep(malloc(event))
                else:
                    block = blocks[-event - 1]
                    assert block is not None, "released twice"
                    blocks[-event - 1] = None
                    free(block)
                index += 1
        except OutOfMemory:
            failed = index
        sections.append(Peak(stats.peak_allocated, stats.peak_reserved))
        if failed is not None:
            break
        allocator.reset_peaks()
    return Usage(tuple(sections), stats.allocated, stats.reserved, failed, stats.num_alloc_retries)
