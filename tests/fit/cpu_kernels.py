"""What CPU kernels allocate beside their results, so that a simulated step can be compared with a real one on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


def _blocks(queries: int, keys: int) -> tuple[int, int]:
    # flash_attention_kernel_impl and flash_attention_backward_kernel_impl in FlashAttentionKernel.cpp
    split = 256 if queries >= 768 else 64 if queries >= 192 else 32
    return min(split, queries), min(512, keys)


def flash_forward(
    query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any
) -> tuple[Tensor, Tensor]:
    """``cpu_flash_attention``: a buffer for each thread."""
    batch, heads, length, width = query.shape
    rows, columns = _blocks(length, key.shape[2])
    out = torch.empty_like(query)
    lse = query.new_empty((batch, length, heads), dtype=torch.float32).transpose(1, 2)
    buffer = query.new_empty(
        (torch.get_num_threads(), rows * columns + 2 * rows + rows * width), dtype=torch.float32
    )
    del buffer
    return out, lse


def flash_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any
) -> tuple[Tensor, ...]:
    """``cpu_flash_attention_backward``: attention and its gradient for each thread."""
    rows, columns = _blocks(query.shape[2], key.shape[2])
    result = tuple(torch.zeros_like(tensor) for tensor in (query, key, value))
    buffer = query.new_empty((torch.get_num_threads(), 2 * rows * columns), dtype=torch.float32)
    del buffer
    return result


def gemm_4bit(
    source: Tensor,
    packed: Tensor,
    shape: Sequence[int],
    absmax: Tensor,
    blocksize: int,
    quant_type: str,
    bias: Tensor | None = None,
    absmax_8bit: Tensor | None = None,
    absmax_code: Tensor | None = None,
    absmax_offset: Tensor | None = None,
) -> Tensor:
    """``_gemm_4bit_default_impl`` in bitsandbytes/backends/default/ops.py."""
    if absmax_8bit is not None:
        scales = torch.empty_like(absmax_8bit, dtype=torch.float32)
        absmax = scales + absmax_offset
        del scales
    weight = source.new_empty(tuple(shape))
    result = F.linear(source, weight, bias)
    del absmax, weight
    return result


def cpu_kernels() -> dict[Any, Callable[..., Any]]:
    """The table for `Recorder`."""
    import bitsandbytes  # noqa: F401 - defines the operators

    return {
        aten._scaled_dot_product_flash_attention_for_cpu.default: flash_forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward.default: flash_backward,
        torch.ops.bitsandbytes.gemm_4bit.default: gemm_4bit,
    }
