"""One answer for all processes that train together."""

from __future__ import annotations


def strongest(wish: int) -> int:
    """The largest number that any process gives; every process must ask in the same moment."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return wish
    import torch

    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    shared = torch.tensor(wish, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared.item())
