"""Answers to the user's own questions, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.train.tokens import end_ids


def answer(
    model: Any, tokenizer: Any, messages: Sequence[dict[str, str]], max_new_tokens: int, **sampling: Any
) -> tuple[str, bool]:
    """One answer, greedy unless sampling settings are given.

    Returns:
        The text, and whether the model stopped by itself.
    """
    import torch

    prompt = tokenizer.apply_chat_template(
        list(messages), tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    ids = prompt["input_ids"].to(model.device)
    ends = sorted(end_ids(tokenizer))
    with torch.inference_mode():
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
