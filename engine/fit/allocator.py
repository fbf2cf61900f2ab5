"""PyTorch's CUDA caching allocator, in plain Python: what ``memory_reserved`` will be for a sequence of tensors.

Every rule names the function of PyTorch that states it. ``Allocator.cpp`` is ``c10/cuda/CUDACachingAllocator.cpp`` and
``AllocatorConfig.h`` is ``c10/core/AllocatorConfig.h`` of PyTorch 2.13; function names are given instead of line
numbers, which move with every release. Left out are CUDA graphs, IPC and blocks that another stream still uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.fit.allocator_blocks import Block, OutOfMemory, Pool, Stats, splice
from engine.fit.allocator_config import (
    MIN_BLOCK,
    MIN_LARGE_ALLOC,
    ROUND_LARGE,
    SMALL_BUFFER,
    SMALL_SIZE,
    UNLIMITED,
    AllocatorConfig,
)

__all__ = ["Block", "CachingAllocator", "OutOfMemory"]

DEFAULT_STREAM = 0


@dataclass(slots=True)
class CachingAllocator:
    """One device's allocator. (``class DeviceCachingAllocator``, Allocator.cpp)

    Args:
        config: The settings of ``PYTORCH_CUDA_ALLOC_CONF``.
        capacity: Bytes the driver can hand out to this process; None for no limit.
    """

    config: AllocatorConfig = field(default_factory=AllocatorConfig)
    capacity: int | None = None
    stats: Stats = field(default_factory=Stats)
    _pools: dict[tuple[int, bool], Pool] = field(default_factory=dict)
    _next_address: int = 1 << 40

    def malloc(self, size: int, stream: int = DEFAULT_STREAM) -> Block:
        """Memory for one tensor. (``DeviceCachingAllocator::malloc``)

        Args:
            size: Bytes asked for, above 0.
            stream: Number of the stream it is allocated on.

        Returns:
            The block; give it to `free` later.

        Raises:
            OutOfMemory: Nothing that could be given back makes room.
        """
        rounded = self.config.round_size(size)
        # get_pool: up to 1 MiB comes from the small pool.
        pool = self._pool(stream, rounded <= SMALL_SIZE)
        block = self._get_free_block(pool, rounded)
        if block is None:
            if self.config.collects_garbage:
                self._garbage_collect()
            block = (
                self._alloc_block(pool, rounded)
                or (self._release_available(pool, rounded) and self._alloc_block(pool, rounded))
                or (self._release_all() and self._alloc_block(pool, rounded, retry=True))
                or None
            )
        if block is None:
            raise OutOfMemory(size, self.stats.allocated, self.stats.reserved)
        if self._should_split(block, rounded):
            block = self._split(block, rounded)
        block.allocated = True
        stats = self.stats
        # alloc_found_block counts the whole block: a remainder that is not split off counts as allocated.
        stats.allocated += block.size
        if stats.allocated > stats.peak_allocated:
            stats.peak_allocated = stats.allocated
        return block

    def free(self, block: Block) -> None:
        """Give a tensor's memory back to the cache. (``free`` and ``free_block``)"""
        block.allocated = False
        self.stats.allocated -= block.size
        # free_block joins it with free neighbours of the same segment, the one before first.
        self._merge(block, block.prev)
        self._merge(block, block.next)
        block.pool.add(block)

    def empty_cache(self) -> None:
        """Give every whole free segment back to the driver. (``emptyCache``)"""
        self._release_all()

    def reset_peaks(self) -> None:
        """Let the peaks start at what is in use now. (``resetPeakStats``)"""
        self.stats.peak_allocated = self.stats.allocated
        self.stats.peak_reserved = self.stats.reserved

    def largest_free_block(self) -> int:
        """Bytes of the largest cached block that is free."""
        return max((pool[len(pool) - 1].size for pool in self._pools.values() if len(pool)), default=0)

    def _pool(self, stream: int, small: bool) -> Pool:
        key = (stream, small)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(small)
        return pool

    def _get_free_block(self, pool: Pool, size: int) -> Block | None:
        """Best fit among the cached blocks. (``get_free_block``)"""
        config = self.config
        if config.collects_garbage:
            pool.searches += 1
        index = pool.first_of_at_least(size)
        if index == len(pool):
            return None
        block = pool[index]
        if block.expandable:
            # A block at the growing end counts as large as it can become, so that inner holes are filled first.
            while index + 1 < len(pool) and _expandable_size(pool[index + 1]) < _expandable_size(pool[index]):
                index += 1
            block = pool[index]
        limit = config.max_split_size
        # "Do not return an oversized block for a large request"
        if size < limit <= block.size:
            return None
        # "Allow oversized block size to be rounded up but within a limit"
        if size >= limit and block.size >= size + config.max_non_split_rounding_size:
            return None
        pool.remove(block)
        return block

    def _should_split(self, block: Block, size: int) -> bool:
        """Whether the rest of a block becomes a block of its own. (``should_split``)"""
        remaining = block.size - size
        if block.pool.is_small or self.config.expandable_segments:
            return remaining >= MIN_BLOCK
        return size < self.config.max_split_size and remaining > SMALL_SIZE

    def _split(self, rest: Block, size: int) -> Block:
        """Cut ``size`` off the front of a block; the rest goes back to the cache. (``alloc_found_block``)"""
        block = Block(rest.pool, rest.address, size, rest.expandable)
        block.prev = rest.prev
        if block.prev is not None:
            block.prev.next = block
        block.next = rest
        rest.prev = block
        rest.address += size
        rest.size -= size
        rest.pool.add(rest)
        return block

    def _merge(self, into: Block, other: Block | None) -> None:
        """Join a free neighbour. (``try_merge_blocks``)"""
        if other is None or other.allocated or into.mapped != other.mapped:
            return
        if other.mapped:
            into.pool.remove(other)
        else:
            into.pool.remove_unmapped(other)
        if into.prev is other:
            into.address = other.address
            into.prev = other.prev
            if into.prev is not None:
                into.prev.next = into
        else:
            into.next = other.next
            if into.next is not None:
                into.next.prev = into
        into.size += other.size

    def _alloc_block(self, pool: Pool, size: int, retry: bool = False) -> Block | None:
        """A new segment from the driver. (``alloc_block``)"""
        if retry:
            self.stats.num_alloc_retries += 1
        segment = self._segment_size(size)
        allowed = self.config.allowed_memory
        if allowed is not None and self.stats.reserved + segment > allowed:
            return None
        if self.config.expandable_segments:
            return self._allocate_expandable(pool, size)
        if not self._reserve(segment):
            return None
        block = Block(pool, self._next_address, segment)
        # Segments never touch: two allocations of the driver are never one block.
        self._next_address += segment + ROUND_LARGE
        return block

    def _segment_size(self, size: int) -> int:
        """Bytes asked from the driver for a block. (``get_allocation_size``)"""
        if size <= SMALL_SIZE:
            return SMALL_BUFFER
        if size < MIN_LARGE_ALLOC:
            return self.config.large_segment_size
        return ROUND_LARGE * -(-size // ROUND_LARGE)

    def _reserve(self, size: int) -> bool:
        stats = self.stats
        if self.capacity is not None and stats.reserved + size > self.capacity:
            return False
        stats.reserved += size
        stats.num_device_alloc += 1
        if stats.reserved > stats.peak_reserved:
            stats.peak_reserved = stats.reserved
        return True

    def _release(self, block: Block) -> None:
        """Give a whole free segment back to the driver. (``release_block``)"""
        block.pool.remove(block)
        self.stats.reserved -= block.size
        self.stats.num_device_free += 1

    def _release_available(self, pool: Pool, size: int) -> bool:
        """Give back just enough oversize blocks. (``release_available_cached_blocks``)"""
        limit = self.config.max_split_size
        if limit == UNLIMITED:
            return False
        wanted = max(size, limit)
        index = pool.first_of_at_least(wanted)
        if index < len(pool):
            self._release(pool[index])
            return True
        released = 0
        while len(pool) and released < wanted and pool[len(pool) - 1].size >= limit:
            block = pool[len(pool) - 1]
            released += block.size
            self._release(block)
        return released >= wanted

    def _release_all(self) -> bool:
        """Give back every segment without a tensor in it. (``release_cached_blocks``, ``release_blocks``)"""
        for pool in sorted(self._pools.values(), key=lambda pool: pool.is_small):
            for block in pool.blocks():
                if block.expandable:
                    self._unmap(block)
                elif not block.is_split:
                    self._release(block)
        return True

    def _garbage_collect(self) -> None:
        """Give back old unsplit large blocks above a threshold. (``garbage_collect_cached_blocks``)"""
        allowed = self.config.allowed_memory or 0
        target = self.stats.reserved - int(self.config.garbage_collection_threshold * allowed)
        if target <= 0:
            return
        pools = [pool for (_, small), pool in self._pools.items() if not small]
        old = [block for pool in pools for block in pool.blocks() if not block.is_split]
        reclaimed, freed = 0, True
        while reclaimed < target and freed and old:
            # Blocks of more than average age go first, all of them, so that this does not run again at once.
            average = sum(block.pool.searches - block.gc_base for block in old) / len(old)
            due = [block for block in old if block.pool.searches - block.gc_base >= average]
            freed = bool(due)
            for block in due:
                reclaimed += block.size
                self._release(block)
            old = [block for block in old if block not in due]

    def _allocate_expandable(self, pool: Pool, size: int) -> Block | None:
        """Grow an expandable segment. (``try_allocate_expandable_block``)"""
        candidate = self._find_expandable(pool, size)
        if not candidate.mapped and not self._map(candidate, min(candidate.size, size)):
            return None
        while candidate.size < size:
            following = candidate.next
            assert following is not None
            if not self._map(following, min(size - candidate.size, following.size)):
                return None
            candidate = following
        pool.remove(candidate)
        return candidate

    def _find_expandable(self, pool: Pool, size: int) -> Block:
        """Lowest address with room to grow, else a new segment. (``find_expandable_block``)"""
        for _, unmapped in pool.unmapped:
            before = unmapped.prev
            start = before if before is not None and not before.allocated else unmapped
            room, block = 0, start
            while block is not None and room < size and not block.allocated:
                room += block.size
                block = block.next  # type: ignore[assignment]
            if room >= size:
                return start
        # "we allocate enough address space for 1 1/8 the total memory on the GPU"
        total = self.capacity if self.capacity is not None else 1 << 44
        page = self._page(pool)
        space = page * -(-max(total + total // 8, size) // page)
        block = Block(pool, self._next_address, space, expandable=True)
        block.mapped = False
        self._next_address += space + ROUND_LARGE
        pool.add_unmapped(block)
        return block

    def _page(self, pool: Pool) -> int:
        # ExpandableSegment: "2MB for small pool, 20MB for large pool"
        return SMALL_BUFFER if pool.is_small else self.config.large_segment_size

    def _map(self, block: Block, size: int) -> bool:
        """Put memory behind the first pages of an unmapped block. (``map_block``, ``ExpandableSegment::map``)"""
        page = self._page(block.pool)
        mapped = page * -(-size // page)
        if not self._reserve(mapped):
            return False
        pool = block.pool
        pool.remove_unmapped(block)
        block.mapped = True
        if mapped < block.size:
            rest = Block(pool, block.address + mapped, block.size - mapped, expandable=True)
            rest.mapped = False
            splice(rest, block, block.next)
            pool.add_unmapped(rest)
            block.size = mapped
        self._merge(block, block.prev)
        self._merge(block, block.next)
        pool.add(block)
        return True

    def _unmap(self, block: Block) -> None:
        """Give the whole pages inside a free block back. (``unmap_block``, ``ExpandableSegment::unmap``)"""
        pool = block.pool
        page = self._page(pool)
        # Segments start at a page, so pages are counted from the start of the segment.
        first = block
        while first.prev is not None:
            first = first.prev
        begin = first.address + page * -(-(block.address - first.address) // page)
        end = first.address + page * ((block.address + block.size - first.address) // page)
        if begin >= end:
            return
        pool.remove(block)
        if begin > block.address:
            before = Block(pool, block.address, begin - block.address, expandable=True)
            splice(before, block.prev, block)
            pool.add(before)
        if block.address + block.size > end:
            after = Block(pool, end, block.address + block.size - end, expandable=True)
            splice(after, block, block.next)
            pool.add(after)
        block.address, block.size, block.mapped = begin, end - begin, False
        self._merge(block, block.prev)
        self._merge(block, block.next)
        pool.add_unmapped(block)
        self.stats.reserved -= end - begin
        self.stats.num_device_free += 1


def _expandable_size(block: Block) -> int:
    """What a block can grow to (the lambda of the same name in ``get_free_block``)."""
    following = block.next
    return block.size + (following.size if following is not None and not following.mapped else 0)
