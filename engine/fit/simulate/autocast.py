"""CUDA's autocast for meta tensors, which PyTorch's own does not cover."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def autocast_for_meta(original: Any) -> Callable[..., Any]:
    """``torch.autocast``, which refuses meta tensors; libraries use it to switch autocast off for a while."""

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        if device_type != "meta":
            return original(device_type, *args, **kwargs)
        return contextlib.nullcontext() if kwargs.get("enabled", True) else _suspended()

    return autocast


@contextlib.contextmanager
def _suspended() -> Iterator[None]:
    before, _state.enabled = _state.enabled, False
    try:
        yield
    finally:
        _state.enabled = before


class _State:
    enabled = False
    dtype = torch.bfloat16


_state = _State()

# The lists of aten/src/ATen/autocast_mode.h: AT_FORALL_LOWER_PRECISION_FP and AT_FORALL_FP32.
_LOWER: frozenset[Any] = frozenset(
    {
        torch.nn.functional.linear,
        torch.matmul,
        torch.mm,
        torch.bmm,
        torch.baddbmm,
        torch.addmm,
        torch.addbmm,
        torch.mv,
        torch.addmv,
        torch.einsum,
        torch.nn.functional.conv1d,
        torch.nn.functional.conv2d,
        torch.conv1d,
        torch.conv2d,
        torch.nn.functional.prelu,
        torch.Tensor.matmul,
        torch.Tensor.__matmul__,
        torch.Tensor.mm,
        torch.Tensor.bmm,
        torch.Tensor.baddbmm,
        torch.Tensor.addmm,
        torch.Tensor.addbmm,
        torch.Tensor.mv,
        torch.Tensor.addmv,
    }
)
_FULL: frozenset[Any] = frozenset(
    {
        torch.nn.functional.layer_norm,
        torch.nn.functional.group_norm,
        torch.nn.functional.softmax,
        torch.nn.functional.log_softmax,
        torch.nn.functional.softplus,
        torch.nn.functional.nll_loss,
        torch.nn.functional.cross_entropy,
        torch.softmax,
        torch.log_softmax,
        torch.exp,
        torch.log,
        torch.pow,
        torch.square,  # a composite of pow
        torch.Tensor.square,
        torch.expm1,
        torch.Tensor.expm1,
        torch.rsqrt,
        torch.reciprocal,
        torch.norm,
        torch.sum,
        torch.cumsum,
        torch.cumprod,
        torch.prod,
        torch.sinh,
        torch.cosh,
        torch.tan,
        torch.acos,
        torch.asin,
        torch.Tensor.softmax,
        torch.Tensor.log_softmax,
        torch.Tensor.exp,
        torch.Tensor.log,
        torch.Tensor.pow,
        torch.Tensor.__pow__,
        torch.Tensor.rsqrt,
        torch.Tensor.reciprocal,
        torch.Tensor.norm,
        torch.Tensor.sum,
        torch.Tensor.cumsum,
        torch.Tensor.cumprod,
        torch.Tensor.prod,
    }
)


class Autocast(TorchFunctionMode):
    """Mixed precision; enter it around a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype = torch.bfloat16
        self._before = False
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> Autocast:
        self._before = _state.enabled
        _state.enabled, _state.dtype = True, self.dtype
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        _state.enabled = self._before
        # clear_cache: casts of weights live until autocast ends.
        self._cache.clear()
        super().__exit__(*exc)

    def resumed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, under the autocast of now also when it is computed again in the backward pass."""
        enabled, dtype = _state.enabled, self.dtype

        def run(*args: Any, **kwargs: Any) -> Any:
            if not enabled or _state.enabled:
                return function(*args, **kwargs)
            again = Autocast()
            again.dtype = dtype
            with again:
                return function(*args, **kwargs)

        return run

    @staticmethod
    def is_enabled(device_type: str | None = None) -> bool:
        """Replaces ``torch.is_autocast_enabled``."""
        return _state.enabled

    @staticmethod
    def dtype_for(device_type: str | None = None) -> torch.dtype:
        """Replaces ``torch.get_autocast_dtype``."""
        return _state.dtype

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _state.enabled:
            if func in _LOWER:
                args = tuple(self._cast(item, self.dtype) for item in args)
                kwargs = {name: self._cast(item, self.dtype) for name, item in kwargs.items()}
            elif (
                func in _FULL and kwargs.get("dtype") is None
            ):  # fp32_set_opt_dtype casts none that says its own
                args = tuple(self._cast(item, torch.float32) for item in args)
                kwargs = {name: self._cast(item, torch.float32) for name, item in kwargs.items()}
        return func(*args, **kwargs)

    def _cast(self, item: Any, dtype: torch.dtype) -> Any:
        if isinstance(item, list | tuple) and item and isinstance(item[0], Tensor):
            return type(item)(self._cast(one, dtype) for one in item)
        if not isinstance(item, Tensor) or item.dtype == dtype:
            return item
        if item.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return item
        # cached_cast: casts of float32 leaves that are trained are made once a forward pass.
        if item.dtype == torch.float32 and item.is_leaf and item.requires_grad and dtype != torch.float32:
            known = self._cache.get(id(item))
            if known is None:
                known = self._cache[id(item)] = (item, item.to(dtype))
            return known[1]
        return item.to(dtype)


def cast_inputs(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Inputs of an operator that runs in 16 bits under autocast, such as fused attention."""
    dtype = _state.dtype if _state.enabled else None
    return tuple(x.to(dtype) if dtype is not None and x.dtype == torch.float32 else x for x in tensors)
