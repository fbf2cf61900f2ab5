"""Which attention kernel a device takes, and what surrounds it, as PyTorch's C++ code decides.

The files named are in aten/src/ATen/native/transformers of PyTorch 2.13.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.fit.simulate.autocast import cast_inputs
from engine.fit.simulate.device import Device

aten = torch.ops.aten


def attention_for(device: Device) -> Callable[..., Tensor]:
    """What ``scaled_dot_product_attention`` does on this device, its kernels as operators that autograd knows."""
    if device.kind == "cpu":
        return _cpu_attention
    # check_prefer_cudnn_attention in sdp_utils.cpp: Hopper and data-center Blackwell, from cuDNN 9.15.1 on.
    prefer_cudnn = device.capability in ((9, 0), (10, 0), (10, 3))
    # sm80 or newer for flash attention (check_sm_version in sdp_utils.cpp)
    flash = device.capability >= (8, 0)

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        query, key, value = cast_inputs(query, key, value)
        half = query.dtype in (torch.float16, torch.bfloat16)
        same_width = query.shape[-1] == value.shape[-1]
        if prefer_cudnn and half and query.shape[-1] % 8 == 0 and query.shape[-1] <= 128 and same_width:
            bias = _additive(attn_mask, query)
            return aten._scaled_dot_product_cudnn_attention(
                query, key, value, bias, query.requires_grad, dropout_p, is_causal, False, scale=scale
            )[0]
        if flash and half and attn_mask is None and same_width and query.shape[-1] <= 256:
            width = query.shape[-1]
            if width % 8:  # pad_last_dim in attention.cpp
                query, key, value = (
                    torch.nn.functional.pad(x, (0, 8 - width % 8)) for x in (query, key, value)
                )
            out = aten._scaled_dot_product_flash_attention(
                query, key, value, dropout_p, is_causal, False, scale=scale or width**-0.5
            )[0]
            return out[..., :width] if width % 8 else out
        if enable_gqa and key.shape[1] != query.shape[1]:
            return _math_attention(query, key, value, attn_mask, dropout_p, is_causal, scale)
        if query.shape[-1] % 8 == 0 and value.shape[-1] % 8 == 0:
            bias = _additive(attn_mask, query)
            if bias is not None:
                bias = _aligned(bias).expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
            return aten._scaled_dot_product_efficient_attention(
                query, key, value, bias, query.requires_grad, dropout_p, is_causal, scale=scale
            )[0]
        return _math_attention(query, key, value, attn_mask, dropout_p, is_causal, scale)

    return attention


def _cpu_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``use_flash_attention_cpp`` in sdp_utils_cpp.cpp: the fused kernel unless there is dropout or grouped heads."""
    if dropout_p > 0 or (enable_gqa and key.shape[1] != query.shape[1]):
        return _math_attention(query, key, value, attn_mask, dropout_p, is_causal, scale)
    return aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=_additive(attn_mask, query), scale=scale
    )[0]


def _math_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    """``_scaled_dot_product_attention_math`` in attention.cpp: scores for every pair of tokens are written out."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if is_causal:
        mask = torch.ones((query.shape[-2], key.shape[-2]), dtype=torch.bool, device=query.device).tril()
    bias = _additive(mask, query)
    factor = (scale or query.shape[-1] ** -0.5) ** 0.5
    scores = (query * factor) @ (key * factor).transpose(-2, -1)
    if bias is not None:
        scores = scores.add_(bias)
    weights = torch.nn.functional.softmax(scores, -1)
    return torch.nn.functional.dropout(weights, dropout) @ value


def _additive(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """``convert_boolean_attn_mask_`` in attention.cpp: every call makes its own additive mask."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.where(mask, 0.0, torch.full((), -torch.inf, dtype=query.dtype, device=query.device))


def _aligned(bias: Tensor) -> Tensor:
    """``preprocess_mask`` and ``pad_bias`` in attention.cpp: rows start at multiples of 8."""
    length = bias.shape[-1]
    if length % 8 == 0:
        return bias
    return torch.nn.functional.pad(bias, (0, 8 - length % 8))[..., :length]
