"""The padded lengths of the batches that the trainer will make from a dataset, in its own order."""

from __future__ import annotations

from collections.abc import Sequence


def epoch_lengths(
    rows: Sequence[int],
    batch: int,
    max_length: int,
    seed: int,
    epoch: int = 0,
    num_processes: int = 1,
    accumulation: int = 1,
) -> tuple[int, ...]:
    """The length of each optimizer step of one epoch, on the GPU that gets the longest batch.

    Rows are cut at ``max_length`` (``engine.train.tokens.tokenize``), drawn in the order of accelerate's
    ``SeedableRandomSampler``, which is seeded with the run's seed plus the epoch, and padded to the longest of their
    batch (TRL's ``DataCollatorForLanguageModeling``). Of several GPUs each takes every n-th batch
    (``BatchSamplerShard``). With accumulation a step counts as long as its longest batch.

    Args:
        rows: Tokens of each training row.
        batch: Rows a GPU handles at once.
        max_length: Limit in tokens.
        seed: Of the run (``TrainingArguments.seed``).
        epoch: Counted from 0.
        num_processes: GPUs that train together.
        accumulation: Batches before an optimizer step.

    Returns:
        Lengths in tokens, in order.
    """
    drawn = [min(rows[index], max_length) for index in shuffled(len(rows), seed + epoch)]
    batches = [max(drawn[start : start + batch]) for start in range(0, len(drawn), batch)]
    mine = max((batches[process::num_processes] for process in range(num_processes)), key=_heaviest)
    return tuple(max(mine[start : start + accumulation]) for start in range(0, len(mine), accumulation))


def shuffled(count: int, seed: int) -> list[int]:
    """The order of ``torch.utils.data.RandomSampler`` with a generator of that seed."""
    import torch

    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def around_longest(lengths: Sequence[int], steps: int) -> tuple[int, ...]:
    """As many steps as are asked for, in order, with the longest about in their middle."""
    at = lengths.index(max(lengths))
    start = max(0, min(at - steps // 2, len(lengths) - steps))
    return tuple(lengths[start : start + steps])


def _heaviest(lengths: Sequence[int]) -> int:
    return max(lengths, default=0)
