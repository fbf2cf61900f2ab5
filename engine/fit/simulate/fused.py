"""Kernels of other stacks that replace parts of a model, as what they allocate: Liger's loss, fused norms, rotations, LoRA.

Each names the file that says so. A Triton kernel writes into tensors it is given, so what counts is which tensors it
gets, which it keeps for the backward pass, and over which it writes its gradient. What runs in place is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


class FusedNorm(Function):
    """``Fast_RMS_Layernorm`` (fms-acceleration kernels/unsloth/rms_layernorm.py): keeps its input and a number a row."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, weight: Tensor) -> Tensor:
        result = torch.empty_like(source)
        inverse = source.new_empty((source.numel() // source.shape[-1],), dtype=torch.float32)
        ctx.save_for_backward(source, weight, inverse)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The gradient is written over the one that comes in; the weight gets none."""
        return grads[0], None


class FusedRotation(Function):
    """``Fast_RoPE_Embedding`` (kernels/unsloth/rope_embedding.py): in place, forward and backward."""

    @staticmethod
    def forward(ctx: Any, source: Tensor) -> Tensor:
        return source.view(source.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        rows = grads[0].reshape(grads[0].shape[0] * grads[0].shape[1], -1)
        return rows.view(grads[0].shape)


class InPlaceCrossEntropy(Function):
    """``Fast_CrossEntropyLoss`` (kernels/unsloth/cross_entropy_loss.py): the gradient goes over the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        rows, vocabulary = logits.shape
        losses = logits.new_empty((rows,), dtype=torch.float32)
        sums = logits.new_empty((rows, -(-vocabulary // 65536)), dtype=torch.float32)
        ctx.save_for_backward(logits, sums, labels)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


class FusedLinearCrossEntropy(Function):
    """``LigerFusedLinearCrossEntropyFunction`` (liger_kernel/ops/fused_linear_cross_entropy.py): head and loss in chunks.

    Gradients are computed in the forward pass already.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        rows, width = hidden.shape
        vocabulary = weight.shape[0]
        pieces = -(-rows // -(-vocabulary // width))
        chunk = 1 << (pieces - 1).bit_length()
        grad_weight = torch.zeros_like(weight) if weight.requires_grad else None
        grad_hidden = torch.zeros_like(hidden)
        losses = hidden.new_zeros((rows,), dtype=torch.float32)
        for start in range(0, rows, chunk):
            part = hidden[start : start + chunk]
            logits = F.linear(part, weight)
            compute = logits.dtype
            logits = logits.float()
            sums = logits.new_empty((logits.shape[0],), dtype=torch.float32)
            logits = logits.to(compute)
            scaled = logits * 1.0
            grad_hidden[start : start + chunk] = torch.matmul(scaled, weight)
            if grad_weight is not None:
                # addmm writes into the gradient; under autocast its 16-bit result is added.
                grad_weight.add_(torch.matmul(logits.t(), part))
            del logits, sums, scaled
        ctx.save_for_backward(grad_hidden, grad_weight, labels)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, _ = ctx.saved_tensors
        return grad_hidden, grad_weight, None


class FusedAdapters(Function):
    """``LoRA_QKV`` and ``LoRA_W`` (fused_ops/unsloth_lora/bnb/fast_lora.py): quantized linears on one input, adapters included.

    Keeps the input, and where there is dropout a dropped copy for each linear.
    """

    @staticmethod
    def forward(
        ctx: Any, source: Tensor, linears: Sequence[Any], overwrites: bool, *adapters: Tensor
    ) -> tuple[Tensor, ...]:
        flat = source.view(-1, source.shape[-1])
        results, dropped = [], []
        for linear, down, up in zip(linears, adapters[::2], adapters[1::2], strict=True):
            weight = _dequantized(linear, flat)
            rate = next(iter(linear.lora_dropout.values()))
            seen = flat
            if isinstance(rate, nn.Dropout) and rate.p > 0 and linear.training:
                seen = torch.native_dropout(flat, rate.p, True)[0]
            result = F.linear(flat, weight)
            del weight
            result += (seen @ down.t().to(flat.dtype)) @ up.t().to(flat.dtype)
            results.append(result.view(*source.shape[:-1], -1))
            dropped.append(seen)
        ctx.linears, ctx.overwrites = linears, overwrites
        ctx.save_for_backward(source, *adapters, *dropped)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        count = len(ctx.linears)
        source, *rest = ctx.saved_tensors
        adapters, dropped = rest[: 2 * count], rest[2 * count :]
        flat = source.reshape(-1, source.shape[-1])
        rows = [grad.reshape(-1, grad.shape[-1]) for grad in grads]
        made: list[Tensor] = []
        for grad, seen, down, up in zip(rows, dropped, adapters[::2], adapters[1::2], strict=True):
            half = grad @ up.to(grad.dtype)
            made.append((seen.t() @ half).t().to(down.dtype))
            made.append(((down.to(grad.dtype) @ seen.t()) @ grad).t().to(up.dtype))
            del half
        result = flat if ctx.overwrites else torch.empty_like(flat)
        for index, (linear, grad, seen) in enumerate(zip(ctx.linears, rows, dropped, strict=True)):
            weight = _dequantized(linear, flat)
            if index:
                result += grad @ weight
            del weight
            down, up = adapters[2 * index], adapters[2 * index + 1]
            result += (seen != 0) * (grad @ up.to(grad.dtype) @ down.to(grad.dtype))
        return result.view(source.shape), None, None, *made


def _dequantized(linear: Any, like: Tensor) -> Tensor:
    """``fast_dequantize``: the weight in 16 bits, its scales in float32 before."""
    weight = linear.get_base_layer().weight
    shape = tuple(weight.quant_state.shape)
    scales = like.new_empty((shape[0] * shape[1] // 64,), dtype=torch.float32)
    result = like.new_empty(shape)
    del scales
    return result


def fuse_norms_and_rotations(model: Any) -> list[tuple[Any, str, Any]]:
    """Give the model's RMS norms and rotations the fused kernels.

    Returns:
        What has to be replaced in the modules of the model's code while it runs.
    """
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = _norm(module)
    code = {sys.modules[type(module).__module__] for module in model.modules()}
    return [
        (module, "apply_rotary_pos_emb", _rotate)
        for module in code
        if hasattr(module, "apply_rotary_pos_emb") and module.__name__.startswith("transformers.models")
    ]


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    def forward(hidden: Tensor) -> Tensor:
        result: Tensor = FusedNorm.apply(hidden, module.weight)
        return result

    return forward


def _rotate(query: Tensor, key: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    rotated = [FusedRotation.apply(tensor.transpose(1, 2)).transpose(1, 2) for tensor in (query, key)]
    return rotated[0], rotated[1]


def fuse_adapters(model: Any) -> None:
    """Compute adapters on quantized attention linears as one kernel does: queries, keys and values together, the output."""
    for module in model.modules():
        names = ("q_proj", "k_proj", "v_proj")
        together: list[Any] = [getattr(module, name, None) for name in names]
        if all(hasattr(linear, "lora_A") for linear in together):
            waiting: list[Tensor] = []
            for linear in together:
                linear.forward = _part(together, waiting, linear is together[0])
        out = getattr(module, "o_proj", None)
        if out is not None and hasattr(out, "lora_A"):
            out.forward = _part([out], [], True)


def _part(linears: list[Any], waiting: list[Tensor], first: bool) -> Callable[[Tensor], Tensor]:
    """The forward of one of them: the first computes all, the others hand out."""

    def forward(source: Tensor, *_: Any, **__: Any) -> Tensor:
        if first:
            adapters = [
                item.weight
                for linear in linears
                for item in (next(iter(linear.lora_A.values())), next(iter(linear.lora_B.values())))
            ]
            waiting[:] = FusedAdapters.apply(source, linears, len(linears) > 1, *adapters)
        return waiting.pop(0)

    return forward
