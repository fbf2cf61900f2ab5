"""Sequences worked out by hand from ``c10/cuda/CUDACachingAllocator.cpp`` of PyTorch 2.13; each test names the function."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from engine.errors import UserError
from engine.fit.allocator import CachingAllocator, OutOfMemory
from engine.fit.allocator_config import AllocatorConfig
from engine.fit.allocator_replay import replay

KIB = 1 << 10
MIB = 1 << 20
EXPANDABLE = AllocatorConfig(expandable_segments=True)


def both(allocator: CachingAllocator) -> tuple[int, int]:
    return allocator.stats.allocated, allocator.stats.reserved


@pytest.mark.parametrize(
    ("asked", "taken"),
    [(1, 512), (512, 512), (513, 1024), (1000, 1024), (1 * MIB - 1, 1 * MIB), (1 * MIB, 1 * MIB)],
)
def test_sizes_are_rounded_to_512_bytes(asked: int, taken: int) -> None:
    # round_size: kMinBlockSize * ((size + kMinBlockSize - 1) / kMinBlockSize)
    allocator = CachingAllocator()
    allocator.malloc(asked)
    assert both(allocator) == (taken, 2 * MIB)


@pytest.mark.parametrize(
    ("asked", "segment"),
    [
        (1 * MIB, 2 * MIB),  # size <= kSmallSize -> kSmallBuffer
        (1 * MIB + 1, 20 * MIB),  # size < kMinLargeAlloc -> large_segment_size
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),  # else kRoundLarge * ceil(size / kRoundLarge)
        (10 * MIB + 1, 12 * MIB),
        (101 * MIB, 102 * MIB),
    ],
)
def test_segments_asked_from_the_driver(asked: int, segment: int) -> None:
    # get_allocation_size
    allocator = CachingAllocator()
    allocator.malloc(asked)
    assert allocator.stats.reserved == segment


def test_small_tensors_share_one_segment_until_it_is_full() -> None:
    # get_pool: size <= kSmallSize -> small_blocks; kSmallBuffer: ""small" allocations are packed in 2 MiB blocks"
    allocator = CachingAllocator()
    for _ in range(4):
        allocator.malloc(512 * KIB)
    assert both(allocator) == (2 * MIB, 2 * MIB)
    allocator.malloc(1)
    assert both(allocator) == (2 * MIB + 512, 4 * MIB)


def test_middle_sizes_share_a_20_mib_segment() -> None:
    # kMinLargeAlloc: "allocations between 1 and 10 MiB may use kLargeBuffer"; get_free_block finds the remainder
    allocator = CachingAllocator()
    for _ in range(2):
        allocator.malloc(9 * MIB)
    assert both(allocator) == (18 * MIB, 20 * MIB)
    allocator.malloc(9 * MIB)  # 2 MiB are left: no room
    assert both(allocator) == (27 * MIB, 40 * MIB)


def test_a_remainder_of_up_to_1_mib_is_not_split_off_a_large_block() -> None:
    # should_split: remaining > kSmallSize in the large pool; alloc_found_block counts block->size as allocated
    allocator = CachingAllocator()
    allocator.malloc(11 * MIB)  # segment of 12 MiB, 1 MiB remains
    assert both(allocator) == (12 * MIB, 12 * MIB)
    allocator.malloc(11 * MIB - 512)  # 1 MiB + 512 B remain
    assert both(allocator) == (23 * MIB - 512, 24 * MIB)


def test_a_remainder_of_512_bytes_is_split_off_a_small_block() -> None:
    # should_split: remaining >= kMinBlockSize in the small pool
    allocator = CachingAllocator()
    allocator.malloc(1 * MIB)
    allocator.malloc(1 * MIB - 512)
    allocator.malloc(512)
    assert both(allocator) == (2 * MIB, 2 * MIB)


def test_freed_memory_is_reused_and_stays_reserved() -> None:
    # free_block: pool.insert_into_blocks(block); the driver gets nothing back until release_cached_blocks
    allocator = CachingAllocator()
    block = allocator.malloc(50 * MIB)
    address = block.address
    allocator.free(block)
    assert both(allocator) == (0, 50 * MIB)
    assert allocator.malloc(50 * MIB).address == address
    assert both(allocator) == (50 * MIB, 50 * MIB)


def test_the_smallest_sufficient_block_is_taken() -> None:
    # get_free_block: pool.blocks.lower_bound(&p.search_key)
    allocator = CachingAllocator()
    large, small = allocator.malloc(100 * MIB), allocator.malloc(40 * MIB)
    addresses = small.address, large.address
    allocator.free(large)
    allocator.free(small)
    assert allocator.malloc(30 * MIB).address == addresses[0]
    assert allocator.malloc(60 * MIB).address == addresses[1]
    assert allocator.stats.reserved == 140 * MIB


def test_free_neighbours_of_one_segment_are_joined() -> None:
    # try_merge_blocks
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(60 * MIB))
    first, second, third = (allocator.malloc(20 * MIB) for _ in range(3))
    assert allocator.stats.reserved == 60 * MIB
    allocator.free(first)
    allocator.free(third)
    assert allocator.largest_free_block() == 20 * MIB
    allocator.free(second)
    assert allocator.largest_free_block() == 60 * MIB


def test_neighbouring_segments_are_never_joined() -> None:
    # alloc_block: new Block(device, stream, size, pool, ptr) has no prev and next, which try_merge_blocks follows
    allocator = CachingAllocator()
    blocks = [allocator.malloc(20 * MIB) for _ in range(3)]
    for block in blocks:
        allocator.free(block)
    allocator.malloc(40 * MIB)
    assert allocator.stats.reserved == 100 * MIB


def test_growing_lengths_leave_segments_nobody_fits_in() -> None:
    # The example of Note [Expandable Segments]: every step is a little larger, so no cached block is large enough.
    allocator = CachingAllocator()
    for size in (20, 30, 40, 50):
        block = allocator.malloc(size * MIB)
        allocator.free(block)
    assert both(allocator) == (0, 140 * MIB)
    falling = CachingAllocator()
    for size in (50, 40, 30, 20):
        falling.free(falling.malloc(size * MIB))
    assert both(falling) == (0, 50 * MIB)


def test_expandable_segments_follow_growing_lengths() -> None:
    allocator = CachingAllocator(EXPANDABLE)
    for size in (20, 30, 40, 50):
        allocator.free(allocator.malloc(size * MIB))
    # ExpandableSegment: pages of 20 MiB in the large pool, so 50 MiB end at 60.
    assert both(allocator) == (0, 60 * MIB)


def test_expandable_segments_map_pages_of_2_mib_for_small_tensors() -> None:
    # find_expandable_block: segment_size = pool->is_small ? kSmallBuffer : large_segment_size
    allocator = CachingAllocator(EXPANDABLE)
    for _ in range(5):
        allocator.malloc(1 * MIB)
    assert both(allocator) == (5 * MIB, 6 * MIB)


def test_expandable_segments_split_whatever_remains() -> None:
    # should_split: expandable_segments() -> remaining >= kMinBlockSize
    allocator = CachingAllocator(EXPANDABLE)
    allocator.malloc(11 * MIB)
    assert both(allocator) == (11 * MIB, 20 * MIB)
    allocator.malloc(9 * MIB)
    assert both(allocator) == (20 * MIB, 20 * MIB)


def test_an_inner_hole_is_preferred_to_the_growing_end() -> None:
    # get_free_block: a block before unmapped space counts as large as it can become
    allocator = CachingAllocator(EXPANDABLE)
    hole, _, end = allocator.malloc(30 * MIB), allocator.malloc(4 * MIB), allocator.malloc(2 * MIB)
    address = hole.address
    allocator.free(end)
    allocator.free(hole)
    assert allocator.malloc(5 * MIB).address == address


def test_expandable_pages_are_given_back_before_out_of_memory() -> None:
    # release_blocks gathers expandable blocks and unmap_block gives whole pages inside them back
    allocator = CachingAllocator(EXPANDABLE, capacity=100 * MIB)
    allocator.free(allocator.malloc(60 * MIB))
    allocator.free(allocator.malloc(60 * MIB, stream=1))
    assert allocator.stats.reserved == 60 * MIB
    assert allocator.stats.num_alloc_retries == 1


def test_cached_segments_are_given_back_before_out_of_memory() -> None:
    # malloc: alloc_block || release_available_cached_blocks || release_cached_blocks && alloc_block(isRetry)
    allocator = CachingAllocator(capacity=100 * MIB)
    allocator.free(allocator.malloc(60 * MIB))
    allocator.malloc(80 * MIB)
    assert both(allocator) == (80 * MIB, 80 * MIB)
    assert allocator.stats.num_alloc_retries == 1


def test_a_split_segment_cannot_be_given_back() -> None:
    # release_blocks: only blocks without prev and next
    allocator = CachingAllocator(capacity=100 * MIB)
    allocator.free(allocator.malloc(60 * MIB))
    allocator.malloc(20 * MIB)  # cut off the 60 MiB segment
    with pytest.raises(OutOfMemory) as caught:
        allocator.malloc(45 * MIB)
    assert (caught.value.allocated, caught.value.reserved) == (20 * MIB, 60 * MIB)


def test_empty_cache_gives_whole_segments_back() -> None:
    # emptyCache -> release_cached_blocks -> release_blocks: if (!block->prev && !block->next) release_block(block)
    allocator = CachingAllocator()
    kept, dropped = allocator.malloc(30 * MIB), allocator.malloc(40 * MIB)
    allocator.free(dropped)
    allocator.empty_cache()
    assert both(allocator) == (30 * MIB, 30 * MIB)
    allocator.free(kept)
    allocator.empty_cache()
    assert both(allocator) == (0, 0)


def test_streams_do_not_share_cached_blocks() -> None:
    # get_free_block: (*it)->stream != p.stream() -> return false
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(40 * MIB, stream=0))
    allocator.malloc(40 * MIB, stream=1)
    assert allocator.stats.reserved == 80 * MIB


def test_oversize_blocks_are_neither_split_nor_used_for_small_requests() -> None:
    # get_free_block and should_split with max_split_size_mb:100
    allocator = CachingAllocator(AllocatorConfig.parse("max_split_size_mb:100"))
    allocator.free(allocator.malloc(200 * MIB))
    allocator.malloc(50 * MIB)  # "Do not return an oversized block for a large request"
    assert allocator.stats.reserved == 250 * MIB
    allocator.malloc(150 * MIB)  # 50 MiB larger than asked: beyond max_non_split_rounding_size (20 MiB)
    assert allocator.stats.reserved == 400 * MIB
    allocator.malloc(190 * MIB)  # within the limit: taken whole
    assert both(allocator) == ((50 + 150 + 200) * MIB, 400 * MIB)


def test_just_enough_oversize_blocks_are_given_back() -> None:
    # release_available_cached_blocks
    allocator = CachingAllocator(AllocatorConfig.parse("max_split_size_mb:100"), capacity=500 * MIB)
    for block in [allocator.malloc(150 * MIB), allocator.malloc(200 * MIB)]:
        allocator.free(block)
    allocator.malloc(260 * MIB)
    assert allocator.stats.reserved == 260 * MIB
    assert allocator.stats.num_alloc_retries == 0


def test_garbage_is_collected_above_the_threshold_oldest_first() -> None:
    # garbage_collect_cached_blocks: blocks of at least average age, when reserved is above the threshold
    config = AllocatorConfig(garbage_collection_threshold=0.5, allowed_memory=400 * MIB)
    allocator = CachingAllocator(config)
    old = allocator.malloc(150 * MIB)
    allocator.free(old)
    allocator.malloc(160 * MIB)
    assert allocator.stats.reserved == 310 * MIB  # 150 were below half of 400: nothing collected yet
    allocator.malloc(180 * MIB)
    assert both(allocator) == (340 * MIB, 340 * MIB)


def test_the_allowed_memory_is_a_limit() -> None:
    # alloc_block: set_fraction && total_allocated_memory + size > allowed_memory_maximum
    allocator = CachingAllocator(AllocatorConfig(allowed_memory=100 * MIB))
    allocator.malloc(90 * MIB)
    with pytest.raises(OutOfMemory):
        allocator.malloc(20 * MIB)


@pytest.mark.parametrize(
    ("text", "asked", "taken"),
    [
        (
            "roundup_power2_divisions:4",
            1200,
            1536,
        ),  # "1200 ... 1024 with 4 divisions: 1024, 1280, ..." below 512*4: plain
        ("roundup_power2_divisions:4", 3000, 3072),
        ("roundup_power2_divisions:4", 5 * MIB + 1, 6 * MIB),
        ("roundup_power2_divisions:8", 5 * MIB + 1, 5 * MIB + 512 * KIB),
        ("roundup_power2_divisions:[256:1,512:2,1024:4,>:8]", 300 * MIB, 300 * MIB),
        ("roundup_power2_divisions:[256:1,512:2,1024:4,>:8]", 600 * MIB, 768 * MIB),
        ("roundup_power2_divisions:[256:1,512:2,1024:4,>:8]", 2049 * MIB, 2304 * MIB),
    ],
)
def test_rounding_between_powers_of_two(text: str, asked: int, taken: int) -> None:
    # round_size and roundup_power2_next_division
    assert AllocatorConfig.parse(text).round_size(asked) == taken


def test_settings_are_read_as_pytorch_writes_them() -> None:
    config = AllocatorConfig.parse(
        "max_split_size_mb:40, expandable_segments:True,garbage_collection_threshold:0.8,"
        "roundup_power2_divisions:[64:8,128:2,256:4,512:2,1024:4,>:1],per_process_memory_fraction:0.5",
        total_memory=1000,
    )
    assert config.expandable_segments
    assert config.max_split_size == 40 * MIB
    assert config.allowed_memory == 500
    assert config.collects_garbage
    # The values of PyTorch's own c10/test/core/AllocatorConfig_test.cpp.
    found = [config._divisions(size * MIB) for size in (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)]
    assert found == [8, 8, 2, 4, 2, 4, 1, 1, 1]
    with pytest.raises(UserError):
        AllocatorConfig.parse("max_split_size_mb:many")


def test_replay_counts_the_peak_of_each_section() -> None:
    events = [30 * MIB, 40 * MIB, -1, 20 * MIB, -2, -3]
    usage = replay(events, cuts=[2, 5])
    # 20 MiB are cut off the 30 MiB segment that was freed.
    assert [(peak.allocated, peak.reserved) for peak in usage.sections] == [
        (70 * MIB, 70 * MIB),
        (70 * MIB, 70 * MIB),
        (20 * MIB, 70 * MIB),
    ]
    assert (usage.peak_allocated, usage.peak_reserved) == (70 * MIB, 70 * MIB)
    assert (usage.allocated, usage.reserved) == (0, 70 * MIB)
    assert usage.out_of_memory is None


def test_replay_says_which_event_did_not_fit() -> None:
    usage = replay([30 * MIB, 40 * MIB], capacity=64 * MIB)
    assert usage.out_of_memory == 1
    assert usage.peak_reserved == 30 * MIB


def _random_events(count: int, seed: int) -> list[int]:
    source = random.Random(seed)
    events: list[int] = []
    live: list[int] = []
    made = 0
    while len(events) < count:
        if live and (len(live) > 400 or source.random() < 0.5):
            events.append(-live.pop(source.randrange(len(live))) - 1)
        else:
            events.append(int(2 ** source.uniform(3, 28)))
            live.append(made)
            made += 1
    return events


@pytest.mark.parametrize("config", [AllocatorConfig(), EXPANDABLE], ids=["segments", "expandable"])
def test_bookkeeping_holds_for_random_sequences(config: AllocatorConfig) -> None:
    allocator = CachingAllocator(config)
    blocks = []
    for event in _random_events(4000, 7):
        if event > 0:
            blocks.append(allocator.malloc(event))
        else:
            allocator.free(blocks[-event - 1])
    live = [block for block in blocks if block.allocated]
    free = [block for pool in allocator._pools.values() for block in pool.blocks()]
    assert allocator.stats.allocated == sum(block.size for block in live)
    assert allocator.stats.reserved == sum(block.size for block in live + free)
    spans = sorted((block.address, block.address + block.size) for block in live + free)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    for block in live:
        allocator.free(block)
    allocator.empty_cache()
    assert both(allocator) == (0, 0)


def test_a_hundred_thousand_operations_take_less_than_a_second() -> None:
    events = _random_events(100_000, 3)
    best = min(_seconds(events) for _ in range(2))
    assert best < 1.0


def _seconds(events: list[int]) -> float:
    started = time.perf_counter()
    replay(events)
    return time.perf_counter() - started
