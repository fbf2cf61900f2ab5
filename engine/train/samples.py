"""Answers to the user's own questions, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.train.tokens import end_ids

Answer = tuple[str, str, bool]
"""What was asked, what came, and whether the model stopped by itself."""


def answer(
    model: Any, tokenizer: Any, messages: Sequence[dict[str, str]], max_new_tokens: int, **sampling: Any
) -> tuple[str, bool]:
    """One answer, greedy unless sampling settings are given.

    Returns:
        The text, and whether the model stopped by itself.
    """
    prompt = tokenizer.apply_chat_template(
        list(messages), tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    return _generated(model, tokenizer, prompt["input_ids"], max_new_tokens, **sampling)


def answer_all(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int
) -> list[tuple[str, bool]]:
    """Greedy answers to several questions, one by one; the model's mode is put back afterwards."""
    was_training = model.training
    model.eval()
    try:
        return [
            answer(model, tokenizer, [{"role": "user", "content": prompt}], max_new_tokens)
            for prompt in prompts
        ]
    finally:
        model.train(was_training)


def continue_all(
    model: Any, tokenizer: Any, beginnings: Sequence[str], max_new_tokens: int
) -> list[tuple[str, bool]]:
    """How the model goes on from the beginnings of texts, without a chat template."""
    was_training = model.training
    model.eval()
    try:
        return [
            _generated(model, tokenizer, tokenizer(text, return_tensors="pt")["input_ids"], max_new_tokens)
            for text in beginnings
        ]
    finally:
        model.train(was_training)


def _generated(
    model: Any, tokenizer: Any, ids: Any, max_new_tokens: int, **sampling: Any
) -> tuple[str, bool]:
    import torch

    ids = ids.to(model.device)
    ends = sorted(end_ids(tokenizer))
    # Not inference mode: what a layer caches then could not be used for training afterwards.
    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
            **({"do_sample": False} | sampling),
        )
    new = made[0, ids.shape[1] :].tolist()
    stopped = bool(new) and new[-1] in ends
    return tokenizer.decode(new, skip_special_tokens=True).strip(), stopped
