"""Conversations that are longer than what a model can look at: the oldest turns are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.deliver.generation import Messages, prompt_ids
from engine.errors import UserError


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits.

    Attributes:
        ids: Its tokens.
        dropped: Turns at the beginning that were left out; of a text, its first tokens.
        max_new_tokens: Longest answer that still fits.
    """

    ids: list[int]
    dropped: int
    max_new_tokens: int


def fitted(
    tokenizer: Any,
    prompt: str | Messages,
    window: int | None,
    max_new_tokens: int,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> Fitted:
    """Cut a prompt so that it and an answer fit into the model's window.

    Room is left for the whole answer, but for no more than a quarter of the window. A system message stays; of the other
    turns the oldest go, together with the answers to them.

    Args:
        tokenizer: With the model's template.
        prompt: A conversation, or a text to go on with.
        window: Tokens the model can look at; None for no limit.
        max_new_tokens: Longest answer that is wanted.
        chat_template_kwargs: Variables of the template.
        tools: Functions the assistant may call.

    Raises:
        UserError: The last turn alone does not fit, or the template refuses the conversation.
    """
    ids = prompt_ids(tokenizer, prompt, chat_template_kwargs, tools)
    if not ids:
        raise UserError(
            "There is nothing to go on from: the prompt is empty.", "prompt", "Write a few words."
        )
    if window is None:
        return Fitted(ids, 0, max_new_tokens)
    room = window - min(max_new_tokens, max(1, window // 4))
    dropped = 0
    if isinstance(prompt, str):
        dropped = max(0, len(ids) - room)
        # The token that begins every text has to stay in front.
        first = ids[:1] if dropped and ids[0] == tokenizer.bos_token_id else []
        ids = first + ids[dropped + len(first) :]
    else:
        system = [turn for turn in prompt[:1] if turn.get("role") == "system"]
        turns = list(prompt[len(system) :])
        while len(ids) > room and (rest := _later(turns)):
            dropped += len(turns) - len(rest)
            turns = rest
            ids = prompt_ids(tokenizer, [*system, *turns], chat_template_kwargs, tools)
    if len(ids) > room:
        raise UserError(
            f"The message is too long: it takes {len(ids):,} tokens, and this model looks at {window:,} at most, its answer "
            "included.",
            "the last message",
            "Shorten it or cut it into parts.",
        )
    return Fitted(ids, dropped, min(max_new_tokens, window - len(ids)))


def _later(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """From the second question on; empty where there is only one."""
    questions = [place for place, turn in enumerate(turns) if turn.get("role") == "user"]
    return list(turns[questions[1] :]) if len(questions) > 1 else []
