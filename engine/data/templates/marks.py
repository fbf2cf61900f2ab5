"""Tokens that end a turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

END_MARKS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<turn|>", "<|end|>", "<|return|>", "<|call|>",
    "<|endoftext|>", "<|end_of_text|>", "</s>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>", "<|endofturn|>",
    "<|eot|>", "[EOS]",
)  # fmt: skip
"""End-of-turn tokens of published templates; each counts only where the model has it as one token."""


def end_ids(
    vocabulary: Mapping[str, int],
    eos: str | None,
    pad: str | None,
    more: Iterable[str] = (),
) -> dict[int, str]:
    """Ids that end a turn, with their texts.

    Args:
        vocabulary: Added tokens (those that are never cut into pieces) with their ids.
        eos: The model's end token.
        pad: Its pad token, which never ends a turn unless it is the end token too.
        more: End-of-turn tokens of the template in use.
    """
    found = {vocabulary[mark]: mark for mark in (*END_MARKS, *more) if mark in vocabulary and mark != pad}
    if eos is not None and eos in vocabulary:
        found[vocabulary[eos]] = eos
    return found
