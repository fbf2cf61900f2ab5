"""Losses of other stacks than finetui's own, from the full logits, as their code computes them."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from engine.errors import UserError


def logits_loss(
    model: Any, name: str, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss of one batch, and the logits that the model returns.

    Args:
        model: The model, adapters included.
        name: As stack profiles call it: ``upcast`` (transformers 5), ``float_shift`` (transformers 4.45 to 4.48),
            ``model_float_shift`` (before), ``model_float`` (logits in float32, labels shifted).
        input_ids: Tokens, ``[batch, length]``.
        attention_mask: The same shape.
        labels: The same shape.

    Raises:
        UserError: Another name.
    """
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
    if name == "upcast":
        output = model(**inputs, labels=labels)
        return output.loss, output.logits
    # In those versions the loss is computed inside the model's forward, while the last hidden states are still held.
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.base_model(**inputs).last_hidden_state
    logits = causal.get_output_embeddings()(hidden)
    vocabulary = logits.shape[-1]
    if name == "model_float":
        # ForCausalLMLoss pads the labels instead of cutting the logits.
        logits = logits.float()
        shifted = F.pad(labels, (0, 1), value=-100)[..., 1:].contiguous()
        return F.cross_entropy(logits.view(-1, vocabulary), shifted.view(-1)), logits
    if name == "model_float_shift":
        logits = wide = logits.float()
    elif name == "float_shift":
        wide = logits.float()
    else:
        raise UserError(
            f"A loss computed as '{name}' cannot be simulated.",
            "loss",
            "Use the arithmetic estimate instead.",
        )
    rows = wide[..., :-1, :].contiguous()
    return F.cross_entropy(rows.view(-1, vocabulary), labels[..., 1:].contiguous().view(-1)), logits
