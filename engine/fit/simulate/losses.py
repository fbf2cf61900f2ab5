"""Losses of other stacks than finetui's own, from the full logits, as their code computes them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import UserError
from engine.fit.simulate.fused import FusedLinearCrossEntropy, InPlaceCrossEntropy


def logits_loss(
    model: Any, name: str, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
) -> tuple[Tensor, Any]:
    """The loss of one batch, and what else the model returns.

    Args:
        model: The model, adapters included.
        name: As stack profiles call it: ``upcast`` (transformers 5), ``float_shift`` (transformers 4.45 to 4.48),
            ``model_float_shift`` (before), ``model_float`` (logits in float32, labels shifted), both of those
            with ``_inplace`` (the gradient goes over the logits), ``liger``, ``eighths`` (torchtune in chunks).
        input_ids: Tokens, ``[batch, length]``.
        attention_mask: The same shape.
        labels: The same shape.

    Raises:
        UserError: Another name.
    """
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    if name == "upcast":
        output = model(**inputs, labels=labels)
        return output.loss, (output.logits, output.past_key_values)
    # In those versions the loss is computed inside the model's forward, while the last hidden states are still held.
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.base_model(**inputs).last_hidden_state
    head = causal.get_output_embeddings()
    if (
        name == "liger"
    ):  # lce_forward: hidden states and labels are shifted, then everything else is one kernel
        rows = hidden[..., :-1, :].contiguous()
        targets = labels[..., 1:].contiguous().view(-1)
        return FusedLinearCrossEntropy.apply(rows.view(-1, rows.shape[-1]), head.weight, targets), hidden
    logits = head(hidden)
    vocabulary = logits.shape[-1]
    if name == "eighths":  # torchtune's CEWithChunkedOutputLoss: each eighth in float32 by itself
        targets = F.pad(labels, (0, 1), value=-100)[..., 1:].contiguous()
        parts = zip(logits.chunk(8, dim=1), targets.chunk(8, dim=1), strict=True)
        losses = [F.cross_entropy(part.reshape(-1, vocabulary).float(), to.reshape(-1)) for part, to in parts]
        return torch.stack(losses).sum(), logits
    if name == "model_float":
        # ForCausalLMLoss pads the labels instead of cutting the logits.
        logits = logits.float()
        shifted = F.pad(labels, (0, 1), value=-100)[..., 1:].contiguous()
        return F.cross_entropy(logits.view(-1, vocabulary), shifted.view(-1)), logits
    if name.startswith("model_float"):
        logits = wide = logits.float()
    elif name.startswith("float"):
        wide = logits.float()
    else:
        raise UserError(
            f"A loss computed as '{name}' cannot be simulated.",
            "loss",
            "Use the arithmetic estimate instead.",
        )
    rows = wide[..., :-1, :].contiguous()
    targets = labels[..., 1:].contiguous().view(-1)
    if name.endswith("inplace"):
        return InPlaceCrossEntropy.apply(rows.view(-1, vocabulary), targets).sum() / targets.numel(), logits
    return F.cross_entropy(rows.view(-1, vocabulary), targets), logits
