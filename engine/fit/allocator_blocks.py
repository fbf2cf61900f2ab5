"""What PyTorch's CUDA caching allocator keeps account of: blocks, pools of free blocks, counters.

Function and type names in brackets are those of ``c10/cuda/CUDACachingAllocator.cpp`` of PyTorch 2.13.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass


class OutOfMemory(Exception):
    """No memory is left, cached blocks given back included.

    Attributes:
        requested: Bytes of the tensor that did not fit.
        allocated: Bytes in tensors at that moment.
        reserved: Bytes held from the driver at that moment.
    """

    def __init__(self, requested: int, allocated: int, reserved: int) -> None:
        super().__init__(
            f"out of memory: {requested} bytes asked, {allocated} allocated, {reserved} reserved"
        )
        self.requested = requested
        self.allocated = allocated
        self.reserved = reserved


class Block:
    """A stretch of device memory. (``struct Block``, Allocator.cpp)"""

    __slots__ = ("address", "allocated", "expandable", "gc_base", "mapped", "next", "pool", "prev", "size")

    def __init__(self, pool: Pool, address: int, size: int, expandable: bool = False) -> None:
        self.pool = pool
        self.address = address
        self.size = size
        self.expandable = expandable
        self.allocated = False
        self.mapped = True
        self.prev: Block | None = None
        self.next: Block | None = None
        self.gc_base = 0

    @property
    def is_split(self) -> bool:
        """It shares its segment with other blocks."""
        return self.prev is not None or self.next is not None


class Pool:
    """The free blocks of one size class on one stream. (``struct BlockPool``, Allocator.cpp)

    PyTorch keeps one set for all streams, ordered by stream first (``BlockComparatorSize``), and a block is reused by
    its own stream only, so one set a stream is the same thing.
    """

    __slots__ = ("_free", "is_small", "searches", "unmapped")

    def __init__(self, is_small: bool) -> None:
        self.is_small = is_small
        self._free: list[tuple[int, int, Block]] = []
        self.unmapped: list[tuple[int, Block]] = []
        self.searches = 0

    def add(self, block: Block) -> None:
        """Put a free block back; its age starts anew. (``BlockPool::insert_into_blocks``)"""
        block.gc_base = self.searches
        insort(self._free, (block.size, block.address, block))

    def remove(self, block: Block) -> None:
        """Take a free block out."""
        del self._free[bisect_left(self._free, (block.size, block.address))]

    def first_of_at_least(self, size: int) -> int:
        """Index of the smallest free block that holds ``size``, the lowest address first (``BlockComparatorSize``)."""
        return bisect_left(self._free, (size,))

    def __len__(self) -> int:
        return len(self._free)

    def __getitem__(self, index: int) -> Block:
        return self._free[index][2]

    def blocks(self) -> list[Block]:
        """Every free block, smallest first."""
        return [entry[2] for entry in self._free]

    def add_unmapped(self, block: Block) -> None:
        """Remember address space without memory behind it (``BlockPool::unmapped``, ordered by address)."""
        insort(self.unmapped, (block.address, block))

    def remove_unmapped(self, block: Block) -> None:
        """Forget it: it was mapped, or joined a neighbour."""
        del self.unmapped[bisect_left(self.unmapped, (block.address,))]


@dataclass(slots=True)
class Stats:
    """Counters in bytes, named as ``torch.cuda.memory_stats`` names them."""

    allocated: int = 0
    reserved: int = 0
    peak_allocated: int = 0
    peak_reserved: int = 0
    num_alloc_retries: int = 0
    num_device_alloc: int = 0
    num_device_free: int = 0


def splice(block: Block, before: Block | None, after: Block | None) -> None:
    """Put a block between two neighbours. (``Block::splice``)"""
    if before is not None:
        before.next = block
    block.prev = before
    if after is not None:
        after.prev = block
    block.next = after
