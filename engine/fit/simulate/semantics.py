"""Makes libraries take, on meta tensors, the paths they take on a CUDA card (or, to check the recorder, on a CPU)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from engine.fit.simulate.attention import attention_for
from engine.fit.simulate.autocast import Autocast, autocast_for_meta
from engine.fit.simulate.device import Device
from engine.fit.simulate.objectives import selective_log_softmax


@contextlib.contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Set attributes for a while."""
    before = [(owner, name, getattr(owner, name, _MISSING)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in reversed(before):
            if value is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


_MISSING = object()


@contextlib.contextmanager
def device_semantics(
    device: Device, padded: bool, masked: bool = True, grouped_heads: bool = True, shared: bool = False
) -> Iterator[Autocast]:
    """Everything below runs as it would on that device.

    Args:
        device: What is simulated.
        padded: Whether rows of a batch differ in length, so that an attention mask is needed.
        masked: Whether attention takes masks at all; the flash_attention_2 package does not.
        grouped_heads: Whether grouped keys and values are passed to attention as they are.
        shared: Whether rows share lines, so that a mask read off their positions keeps them apart.

    Yields:
        The autocast to enter around the model's forward pass.
    """
    from transformers import masking_utils
    from transformers.integrations import sdpa_attention

    all_set, packed_rows = masking_utils.fast_all, masking_utils.find_packed_sequence_indices

    def fast_all(mask: Tensor) -> bool:
        all_set(mask)
        return not padded

    def find_packed_sequence_indices(position_ids: Tensor) -> Tensor | None:
        packed_rows(position_ids)
        return torch.empty_like(position_ids) if shared else None

    autocast = Autocast()
    changes: list[tuple[Any, str, Any]] = [
        (masking_utils, "fast_all", fast_all),
        (masking_utils, "find_packed_sequence_indices", find_packed_sequence_indices),
        (torch, "is_autocast_enabled", autocast.is_enabled),
        (torch, "get_autocast_dtype", autocast.dtype_for),
        (torch, "autocast", autocast_for_meta(torch.autocast)),
        (torch.amp, "autocast", autocast_for_meta(torch.amp.autocast)),
        (torch.nn.functional, "scaled_dot_product_attention", attention_for(device)),
        *_optimizer_changes(),
    ]
    if not grouped_heads:
        changes.append((sdpa_attention, "use_gqa_in_sdpa", lambda *_: False))
    if device.kind == "cuda":
        changes += _cuda_changes()
    else:
        changes += _cpu_changes()
    masks = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS._global_mapping
    usual = masks["sdpa"]
    if not masked:
        masks["sdpa"] = _no_mask
    try:
        with replaced(*changes):
            yield autocast
    finally:
        masks["sdpa"] = usual


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


def _cuda_changes() -> list[tuple[Any, str, Any]]:
    from trl.experimental.orpo import orpo_trainer
    from trl.kernels import chunked_logprob
    from trl.trainer import utils as trl_utils

    def yes(_: Any) -> bool:
        return True

    return [
        (torch.nn.functional, "dropout", _fused_dropout),
        (chunked_logprob, "_use_triton", yes),
        (trl_utils, "_use_triton", yes),
        (orpo_trainer, "selective_log_softmax", selective_log_softmax),
        # Triton kernels write into tensors they are given and allocate nothing.
        (chunked_logprob, "_forward_kernel", _Launcher()),
        (chunked_logprob, "_backward_kernel", _Launcher()),
        (chunked_logprob, "triton", SimpleNamespace(cdiv=lambda a, b: -(-a // b))),
        (chunked_logprob, "_addmm_fp32", _addmm_in_place),
    ]


def _cpu_changes() -> list[tuple[Any, str, Any]]:
    from bitsandbytes.autograd import _functions as bnb_functions

    # bnb.matmul asks for the device: on a CPU it dequantizes instead of multiplying integers.
    return [(bnb_functions, "MatMul8bitLt", bnb_functions.MatMul8bitFp)]


def _optimizer_changes() -> list[tuple[Any, str, Any]]:
    import bitsandbytes.functional as bnb_functional
    from bitsandbytes.optim.optimizer import GlobalOptimManager
    from torch.optim import optimizer as torch_optimizer
    from torch.utils import _foreach_utils

    def supported() -> list[str]:
        return ["meta", "cuda", "cpu"]

    def paged(*shape: int, dtype: torch.dtype = torch.float32, device: Any = None) -> Tensor:
        # Managed memory: neither in PyTorch's allocator nor necessarily on the card.
        with _disable_current_modes():
            buffer = torch.empty(*shape, dtype=dtype, device="meta")
        buffer.is_paged = True
        return buffer

    def nothing(*_: Any, **__: Any) -> None:
        return None

    return [
        (torch_optimizer, "_get_foreach_kernels_supported_devices", supported),
        (_foreach_utils, "_get_foreach_kernels_supported_devices", supported),
        (torch_optimizer, "_get_fused_kernels_supported_devices", supported),
        # What bitsandbytes remembers for the whole process neither reach nor outlive the simulation.
        (bnb_functional, "name2qmap", {}),
        (GlobalOptimManager, "_instance", None),
        (bnb_functional, "get_paged", paged),
        (bnb_functional, "fill", nothing),
        (bnb_functional, "prefetch_tensor", nothing),
    ]


class _Launcher:
    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def _addmm_in_place(acc: Tensor, a: Tensor, b: Tensor) -> None:
    """``torch.addmm(acc, a, b, out_dtype=float32, out=acc)``, which is only there on CUDA, allocates nothing."""


def _fused_dropout(source: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``at::native::dropout`` in Dropout.cpp: on CUDA one kernel that keeps a byte an element."""
    if p == 0 or not training or source.numel() == 0:
        return source
    return torch.native_dropout(source, p, training)[0]
