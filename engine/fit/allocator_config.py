"""The settings of PyTorch's CUDA caching allocator and its size classes.

The sizes are the constants of ``c10/core/AllocatorConfig.h``, the settings those of ``PYTORCH_CUDA_ALLOC_CONF``
(PyTorch 2.13).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.errors import UserError

MIB = 1 << 20
MIN_BLOCK = 512  # kMinBlockSize: "all sizes are rounded to at least 512 bytes"
SMALL_SIZE = 1 * MIB  # kSmallSize: "largest "small" allocation is 1 MiB"
SMALL_BUFFER = 2 * MIB  # kSmallBuffer: ""small" allocations are packed in 2 MiB blocks"
MIN_LARGE_ALLOC = 10 * MIB  # kMinLargeAlloc: "allocations between 1 and 10 MiB may use kLargeBuffer"
ROUND_LARGE = 2 * MIB  # kRoundLarge: "round up large allocations to 2 MiB"
LARGE_BUFFER = 20 * MIB  # large_segment_size_: "20 MB by default"
UNLIMITED = 1 << 63
INTERVALS = 16  # kRoundUpPowerOfTwoIntervals: from 1 MiB to 64 GiB


@dataclass(frozen=True, slots=True)
class AllocatorConfig:
    """Settings of the allocator; the defaults are PyTorch's.

    Attributes:
        expandable_segments: Grow one segment instead of asking the driver for many.
        max_split_size: Larger blocks are never split, in bytes.
        max_non_split_rounding_size: How much larger such a block may be than what is asked, in bytes.
        large_segment_size: Segment for allocations between 1 and 10 MiB, in bytes.
        roundup_power2_divisions: Divisions between powers of two, for sizes from 1 MiB, 2 MiB, 4 MiB ... on; empty for
            plain rounding.
        garbage_collection_threshold: Share of ``allowed_memory`` above which old blocks are given back.
        allowed_memory: Bytes set with ``torch.cuda.set_per_process_memory_fraction``; garbage is collected only
            where it is set (``set_fraction`` in ``DeviceCachingAllocator::malloc``).
    """

    expandable_segments: bool = False
    max_split_size: int = UNLIMITED
    max_non_split_rounding_size: int = LARGE_BUFFER
    large_segment_size: int = LARGE_BUFFER
    roundup_power2_divisions: tuple[int, ...] = ()
    garbage_collection_threshold: float = 0.0
    allowed_memory: int | None = None

    @property
    def collects_garbage(self) -> bool:
        """Old cached blocks are given back before the driver is asked for more."""
        return self.allowed_memory is not None and self.garbage_collection_threshold > 0

    def round_size(self, size: int) -> int:
        """Bytes a request takes inside a segment. (``DeviceCachingAllocator::round_size``)"""
        if size < MIN_BLOCK:
            return MIN_BLOCK
        if self.roundup_power2_divisions:
            divisions = self._divisions(size)
            if divisions > 1 and size > MIN_BLOCK * divisions:
                return _next_division(size, divisions)
        return MIN_BLOCK * -(-size // MIN_BLOCK)

    def _divisions(self, size: int) -> int:
        # AcceleratorAllocatorConfig::roundup_power2_divisions: one entry a power of two, 1 MiB first.
        index = size.bit_length() - 1 - 20
        return self.roundup_power2_divisions[min(max(index, 0), INTERVALS - 1)]

    @classmethod
    def parse(cls, text: str, total_memory: int | None = None) -> AllocatorConfig:
        """Settings as ``PYTORCH_CUDA_ALLOC_CONF`` writes them, such as ``expandable_segments:True``.

        Args:
            text: The value of the variable; settings that do not change sizes are ignored.
            total_memory: Bytes of the device, for ``per_process_memory_fraction``.

        Raises:
            UserError: A known setting has a value PyTorch refuses.
        """
        chosen: dict[str, str] = dict(
            re.findall(r"(\w+)\s*:\s*(\[[^\]]*\]|[^,\s]+)", text.replace(" ", "")),
        )
        try:
            fraction = float(chosen.get("per_process_memory_fraction", 1.0))
            return cls(
                expandable_segments=chosen.get("expandable_segments", "False") == "True",
                max_split_size=_mib(chosen, "max_split_size_mb", UNLIMITED),
                max_non_split_rounding_size=_mib(chosen, "max_non_split_rounding_mb", LARGE_BUFFER),
                large_segment_size=_mib(chosen, "large_segment_size_mb", LARGE_BUFFER),
                roundup_power2_divisions=_parse_divisions(chosen.get("roundup_power2_divisions", "")),
                garbage_collection_threshold=float(chosen.get("garbage_collection_threshold", 0.0)),
                allowed_memory=int(fraction * total_memory) if total_memory and fraction < 1 else None,
            )
        except ValueError as error:
            raise UserError(
                f"The setting of PyTorch's memory allocator cannot be read: {error}.",
                f"PYTORCH_CUDA_ALLOC_CONF={text}",
                "Unset the variable, or write it like expandable_segments:True.",
            ) from None


def _mib(chosen: dict[str, str], key: str, default: int) -> int:
    return int(chosen[key]) * MIB if key in chosen else default


def _next_division(size: int, divisions: int) -> int:
    """The next of the equal steps between two powers of two. (``roundup_power2_next_division``)"""
    if size & (size - 1) == 0:
        return size
    floor = 1 << (size.bit_length() - 1)
    step = floor >> (divisions.bit_length() - 1)
    if step == 0:
        return floor << 1
    return step * -(-size // step)


def _parse_divisions(text: str) -> tuple[int, ...]:
    """``4`` or ``[256:1,512:2,>:8]`` with sizes in MiB. (``parseRoundUpPower2Divisions``)"""
    if not text:
        return ()
    if not text.startswith("["):
        return (int(text),) * INTERVALS
    table = [0] * INTERVALS
    last: int | None = None
    for pair in text.strip("[]").split(","):
        boundary, _, value = pair.partition(":")
        if boundary == ">":
            table[(last if last is not None else -1) + 1 :] = [int(value)] * (
                INTERVALS - 1 - (last if last is not None else -1)
            )
            continue
        index = min(int(boundary).bit_length() - 1, INTERVALS - 1)
        if last is None:
            table[:index] = [int(value)] * index
        table[index] = int(value)
        last = index
    return tuple(table)
