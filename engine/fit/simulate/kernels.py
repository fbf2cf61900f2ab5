"""What CUDA kernels allocate beside their results, written out as tensors.

On meta tensors an operator only makes its result. The kernels below also make, in the same order, what the real ones
make and drop inside: each names its source. ``attention_backward.cu``, ``flash_api.cpp``, ``Indexing.cu`` and
``Embedding.cu`` are files of PyTorch 2.13 (aten/src/ATen/native); ``bitsandbytes`` is version 0.50.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten

# LLM.int8() computes columns with a value above 6 in 16 bits. How many there are depends on the data; one in a hundred
# is more than the 0.1 % that the paper (arXiv 2208.07339, section 4) reports for models up to 175 B.
OUTLIER_SHARE = 0.01


def _up(value: int, step: int) -> int:
    return step * -(-value // step)


def flash_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    *rest: Any,
    **named: Any,
) -> tuple[Tensor, ...]:
    """``mha_bwd`` in flash_api.cpp: the query gradient is summed in float32, and grouped heads get full-size gradients."""
    batch, heads, length, width = query.shape
    kv_heads, kv_length = key.shape[1], key.shape[2]
    result = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
    rounded = _up(length, 128)
    softmax_d = query.new_empty((batch, heads, rounded), dtype=torch.float32)
    dq_accum = query.new_empty(
        (batch, rounded, heads, _up(width, 32 if width <= 128 else 64)), dtype=torch.float32
    )
    expanded: list[Tensor] = []
    if kv_heads != heads:
        expanded = [query.new_empty((batch, kv_length, heads, width)) for _ in range(2)]
    del softmax_d, dq_accum, expanded
    return result


def efficient_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    compute_lse: bool,
    *rest: Any,
    **named: Any,
) -> tuple[Tensor, ...]:
    """``_efficient_attention_forward`` in attention.cu: wide heads are summed in a float32 buffer."""
    batch, heads, length, _ = query.shape
    width = value.shape[-1]
    out = query.new_empty((batch, length, heads, width))
    lse = query.new_empty((batch, heads, _up(length, 32) if compute_lse else 0), dtype=torch.float32)
    accumulator = (
        query.new_empty((batch, length, heads, width), dtype=torch.float32)
        if width > 128 and query.dtype != torch.float32
        else None
    )
    seed = query.new_empty((), dtype=torch.long), query.new_empty((), dtype=torch.long)
    del accumulator
    return out.transpose(1, 2), lse, *seed


def efficient_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    out: Tensor,
    lse: Tensor,
    *rest: Any,
    **named: Any,
) -> tuple[Tensor | None, ...]:
    """``_efficient_attention_backward`` in attention_backward.cu and ``workspace_size`` in kernel_backward.h."""
    batch, heads, length, width = query.shape
    grad_rows = grad.transpose(1, 2).contiguous()
    result = tuple(
        tensor.new_empty((batch, tensor.shape[2], tensor.shape[1], tensor.shape[3])).transpose(1, 2)
        for tensor in (query, key, value)
    )
    delta = query.new_empty((batch, heads, length), dtype=torch.float32)
    block = 64 if width <= 64 or width > 128 else 128
    floats = _up(length, block) * _up(width, 64 if width <= 64 else block) + 4 * -(-length // block)
    if width > 128:  # not kOutputInRF: key and value gradients are summed in float32 too
        floats += 2 * _up(key.shape[2], 64) * _up(width, 64)
    workspace = query.new_empty((batch * heads * floats * 4,), dtype=torch.uint8)
    del grad_rows, delta, workspace
    return (*result, None)


def cudnn_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    compute_lse: bool,
    *rest: Any,
    **named: Any,
) -> tuple[Any, ...]:
    """``_scaled_dot_product_cudnn_attention`` in attention.cu."""
    batch, heads, length, _ = query.shape
    out = query.new_empty((batch, length, heads, value.shape[-1])).transpose(1, 2)
    lse = query.new_empty((batch, heads, length, 1), dtype=torch.float32)
    seed = query.new_empty((), dtype=torch.long), query.new_empty((), dtype=torch.long)
    return out, lse, None, None, length, key.shape[2], *seed, None


def cudnn_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any
) -> tuple[Tensor, ...]:
    """``run_cudnn_SDP_bprop`` in MHA.cpp: the graph's workspace holds the float32 query gradient."""
    result = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
    batch, heads, length, width = query.shape
    workspace = query.new_empty((batch, heads, length, width + 1), dtype=torch.float32)
    del workspace
    return result


def embedding_backward(grad: Tensor, indices: Tensor, rows: int, padding: int, scaled: bool) -> Tensor:
    """``embedding_dense_backward_cuda`` in Embedding.cu: more than 3072 tokens are sorted first."""
    count = indices.numel()
    if count <= 3072 and padding < 0:
        return grad.new_empty((rows, grad.shape[-1]))
    order = [indices.new_empty((count,)) for _ in range(2)]
    result = grad.new_empty((rows, grad.shape[-1]))
    segments = [indices.new_empty((count,)) for _ in range(3)]
    # A partial sum for every 10 tokens of a kind (NROWS_PER_THREAD); about every fourth token is new in a text.
    partial = grad.new_empty((count // 10 + count // 4, _up(grad.shape[-1], 32)), dtype=torch.float32)
    del order, segments, partial
    return result


class Counting:
    """Operators whose result is as large as the data say; here a stated share of a mask is set.

    Args:
        share: Share of the positions of a boolean mask that are True, such as the tokens that are learnt.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def _count(self, mask: Tensor) -> int:
        return max(1, math.ceil(mask.numel() * self.share))

    def nonzero(self, mask: Tensor) -> Tensor:
        """``nonzero_out_cuda``."""
        return mask.new_empty((self._count(mask), mask.dim()), dtype=torch.long)

    def index(self, source: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
        """``index`` with a boolean mask: the positions are found first."""
        mask = indices[0]
        if len(indices) != 1 or mask is None or mask.dtype != torch.bool:
            return NotImplemented
        positions = self.nonzero(mask)
        result = source.new_empty((positions.shape[0], *source.shape[mask.dim() :]))
        del positions
        return result

    def index_put(
        self,
        target: Tensor,
        indices: Sequence[Tensor | None],
        values: Tensor,
        accumulate: bool = False,
        unsafe: bool = False,
    ) -> Tensor:
        """``index_put_with_sort_kernel`` in Indexing.cu: linear positions, sorted, with their order."""
        if not accumulate:
            return target
        count = values.shape[0]
        made = [target.new_empty((count,), dtype=torch.long) for _ in range(4)]
        del made
        return target


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
    """``_dequant_linear_fallback`` in bitsandbytes/backends/cuda/ops.py.

    Above 1536 rows (``_gemm_4bit_custom_max_m``) it is always used; below, the card decides, and the fused kernel
    would need less.
    """
    scales: list[Tensor] = []
    if absmax_8bit is not None:
        scales.append(torch.empty_like(absmax_8bit, dtype=torch.float32))
        scales.append(torch.empty_like(absmax_8bit, dtype=torch.float32))
    weight = source.new_empty(tuple(shape))
    result = F.linear(source, weight, bias)
    del scales, weight
    return result


def int8_vectorwise_quant(source: Tensor, threshold: float = 0.0) -> tuple[Tensor, Tensor, Tensor | None]:
    """``int8_vectorwise_quant`` in bitsandbytes/backends/cuda/ops.py."""
    width = source.shape[-1]
    row_stats = source.new_empty((source.numel() // width,), dtype=torch.float32)
    result = source.new_empty(source.shape, dtype=torch.int8)
    columns = None
    if threshold > 0.0:
        outliers = source.abs() >= threshold
        columns = source.new_empty((max(1, int(width * OUTLIER_SHARE)),), dtype=torch.long)
        del outliers
    return result, row_stats, columns


def int8_scaled_mm(
    source: Tensor,
    weight: Tensor,
    row_stats: Tensor,
    column_stats: Tensor,
    bias: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """``int8_linear_matmul`` then ``int8_mm_dequant``: int32 sums, then float16, then the wanted format."""
    sums = source.new_empty((*source.shape[:-1], weight.shape[0]), dtype=torch.int32)
    half = torch.empty_like(sums, dtype=torch.float16)
    result = half.to(dtype or torch.float16)
    del sums, half
    return result


def int8_mixed_scaled_mm(
    source: Tensor,
    quantized: Tensor,
    weight: Tensor,
    row_stats: Tensor,
    column_stats: Tensor,
    outlier_columns: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``int8_mixed_scaled_mm`` in bitsandbytes/backends/default/ops.py: outlier columns in the input's format."""
    if outlier_columns is None:
        return int8_scaled_mm(
            quantized, weight, row_stats, column_stats, bias, source.dtype
        ), source.new_empty((0,))
    count = outlier_columns.numel()
    kept = source.new_empty((source.shape[0], count))
    part = weight.new_empty((weight.shape[0], count))
    scaled = part.float() * column_stats.view(-1, 1) * 0.5
    other = scaled.to(source.dtype).t()
    del part, scaled
    output = int8_scaled_mm(quantized, weight, row_stats, column_stats, bias, source.dtype)
    return output.addmm(kept, other), kept


def cuda_kernels(scored: float) -> dict[Any, Callable[..., Any]]:
    """The table for `Recorder`.

    Args:
        scored: Share of the tokens whose prediction is learnt.
    """
    import bitsandbytes  # noqa: F401 - defines the operators

    counting = Counting(scored)
    bnb = torch.ops.bitsandbytes
    return {
        aten._scaled_dot_product_flash_attention_backward.default: flash_backward,
        aten._scaled_dot_product_efficient_attention.default: efficient_forward,
        aten._scaled_dot_product_efficient_attention_backward.default: efficient_backward,
        aten._scaled_dot_product_cudnn_attention.default: cudnn_forward,
        aten._scaled_dot_product_cudnn_attention_backward.default: cudnn_backward,
        aten.embedding_dense_backward.default: embedding_backward,
        aten.nonzero.default: counting.nonzero,
        aten.index.Tensor: counting.index,
        aten._index_put_impl_.default: counting.index_put,
        bnb.gemm_4bit.default: gemm_4bit,
        bnb.int8_vectorwise_quant.default: int8_vectorwise_quant,
        bnb.int8_scaled_mm.default: int8_scaled_mm,
        bnb.int8_mixed_scaled_mm.default: int8_mixed_scaled_mm,
    }
