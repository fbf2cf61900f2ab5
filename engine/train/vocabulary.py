"""Rows in the embeddings for tokens that a chat template needs and the model did not have."""

from __future__ import annotations

from typing import Any

from engine.train.tokens import Prepared, end_ids


def fit_vocabulary(model: Any, tokenizer: Any, prepared: Prepared) -> dict[str, list[int]]:
    """Make the embeddings long enough, and give new tokens a sensible start.

    The token that ends a turn starts as a copy of the end token the model knows, others as the mean of all tokens: the
    same on every machine and at every resume, and nearer to the goal than random numbers.

    Args:
        model: A transformers model; changed in place.
        tokenizer: As `prepare_tokenizer` left it.
        prepared: What that changed.

    Returns:
        Which rows have to be trained beside a LoRA adapter: the name of the layer, and the ids; empty where none have.
    """
    import torch

    embedding = model.get_input_embeddings()
    if len(tokenizer) > embedding.weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        embedding = model.get_input_embeddings()
    head = model.get_output_embeddings()
    layers = [embedding]
    if head is not None and head.weight is not embedding.weight:
        layers.append(head)
    new = tokenizer.convert_tokens_to_ids(list(prepared.new))
    with torch.no_grad():
        for layer in layers if new else ():
            mean = layer.weight[: prepared.known].float().mean(0)
            for text, number in zip(prepared.new, new, strict=True):
                copied = text == prepared.end and prepared.previous_end is not None
                layer.weight[number] = (
                    layer.weight[prepared.previous_end] if copied else mean.to(layer.weight.dtype)
                )
    if prepared.end is not None:
        model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.eos_token_id = sorted(end_ids(tokenizer))
    added = tokenizer.convert_tokens_to_ids(list(prepared.added))
    # PEFT's wrapper computes without a bias; a head that has one keeps its new rows as they begin.
    trained = [layer for layer in layers if getattr(layer, "bias", None) is None]
    return {_name_of(model, layer): added for layer in trained} if added else {}


def _name_of(model: Any, wanted: Any) -> str:
    return str(next(name for name, module in model.named_modules() if module is wanted))
