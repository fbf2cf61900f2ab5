"""From rows to token ids and labels: the one place that decides what is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from engine.errors import UserError

IGNORED = -100  # the label of a token that is seen but not learnt


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Rows as the trainer takes them.

    Attributes:
        rows: One ``{"input_ids": [...], "labels": [...]}`` a conversation, at most max_length long.
        total: Rows offered.
        truncated: Rows that were longer than max_length.
        without_target: Rows dropped because no token of them would be learnt.
        tokens: Tokens in rows.
        trained: Tokens with a label.
        stops: Share of rows whose end-of-turn token is learnt.
    """

    rows: list[dict[str, list[int]]]
    total: int
    truncated: int
    without_target: int
    tokens: int
    trained: int
    stops: float


def prepare_tokenizer(tokenizer: Any, chat_template: str, conversational: bool) -> list[str]:
    """Give a tokenizer the template it needs and a pad token that is not the end token.

    Args:
        tokenizer: A transformers tokenizer; changed in place.
        chat_template: ``model`` or the path of a Jinja file.
        conversational: Whether the data are conversations, which need a template.

    Returns:
        What was changed, in sentences for the user.

    Raises:
        UserError: The template file cannot be read, or the tokenizer knows no end token.
    """
    notes: list[str] = []
    if chat_template != "model":
        try:
            tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The chat template cannot be read: {error}.",
                chat_template,
                "Give a .jinja file, or 'model' for the model's own.",
            ) from None
    elif conversational and not tokenizer.chat_template:
        tokenizer.chat_template = (
            resources.files("presets").joinpath("templates/chatml.jinja").read_text("utf-8")
        )
        notes.append(
            "This model has no chat template of its own (it is a base model): conversations are written in ChatML, "
            "and the template is saved with the result."
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            "The tokenizer has no end token, so the model could never learn to stop.",
            str(tokenizer.name_or_path),
            "Choose the instruct variant of the model, or set eos_token in its tokenizer_config.json.",
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        pad = _spare_token(tokenizer)
        if pad is None:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
        else:
            tokenizer.pad_token = pad
        notes.append(
            f"The pad token is now {tokenizer.pad_token}: with the end token as padding a model may never learn to stop."
        )
    return notes


def tokenize(
    rows: Sequence[dict[str, Any]], tokenizer: Any, max_length: int, assistant_only_loss: bool
) -> Tokenized:
    """Turn conversations and texts into ids and labels.

    Args:
        rows: ``{"messages": [...]}`` or ``{"text": "..."}``.
        tokenizer: As `prepare_tokenizer` left it.
        max_length: Longest row in tokens; the rest is cut off at the end.
        assistant_only_loss: Learn the assistant's words only; in texts every token is learnt.
    """
    template = training_template(tokenizer) if assistant_only_loss else None
    made: list[dict[str, list[int]]] = []
    truncated = without_target = tokens = trained = stopping = 0
    ends = end_ids(tokenizer)
    for row in rows:
        ids, labels = (
            _conversation(row["messages"], tokenizer, template, assistant_only_loss)
            if "messages" in row
            else _text(row["text"], tokenizer)
        )
        if len(ids) > max_length:
            truncated += 1
            ids, labels = ids[:max_length], labels[:max_length]
        learnt = sum(label != IGNORED for label in labels)
        if not learnt:
            without_target += 1
            continue
        made.append({"input_ids": ids, "labels": labels})
        tokens += len(ids)
        trained += learnt
        stopping += any(label in ends for label in labels)
    return Tokenized(
        made, len(rows), truncated, without_target, tokens, trained, stopping / len(made) if made else 0.0
    )


def end_ids(tokenizer: Any) -> set[int]:
    """Ids that end a turn: the end token, and the end-of-turn markers of common templates where they are special."""
    special = set(tokenizer.all_special_ids)
    names = (
        "<|im_end|>",
        "<|eot_id|>",
        "<end_of_turn>",
        "<|end|>",
        "<|endoftext|>",
        "</s>",
        "<|return|>",
        "<turn|>",
    )
    found = {tokenizer.eos_token_id}
    for name in names:
        token = tokenizer.convert_tokens_to_ids(name)
        if isinstance(token, int) and token in special and token != tokenizer.pad_token_id:
            found.add(token)
    return found


def training_template(tokenizer: Any) -> str | None:
    """A chat template that marks the assistant's words with generation tags; None when there is none for this model."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if has_generation_markers(tokenizer.chat_template or ""):
        return tokenizer.chat_template
    try:
        return get_training_chat_template(tokenizer)
    except ValueError:  # TRL knows no patched version of this template
        return None


def _conversation(
    messages: list[dict[str, Any]], tokenizer: Any, template: str | None, assistant_only: bool
) -> tuple[list[int], list[int]]:
    if not assistant_only:
        ids = list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])
        return ids, list(ids)
    if template is None:
        return _by_prefix(messages, tokenizer)
    made = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids = list(made["input_ids"])
    mask = made["assistant_masks"]
    return ids, [token if bit else IGNORED for token, bit in zip(ids, mask, strict=True)]


def _by_prefix(messages: list[dict[str, Any]], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Find the assistant's words without tags: what a turn adds to the prompt that asks for it."""
    full = tokenizer.apply_chat_template(messages, tokenize=False)
    spans: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = tokenizer.apply_chat_template(messages[:index], tokenize=False, add_generation_prompt=True)
        after = tokenizer.apply_chat_template(messages[: index + 1], tokenize=False)
        if full.startswith(before) and full.startswith(after) and len(after) > len(before):
            # The line break some templates put after the end of turn belongs to the next turn.
            spans.append((len(before), len(before) + len(after[len(before) :].rstrip("\n"))))
    encoded = tokenizer(full, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    labels = [
        token if any(start < right and left < end for start, end in spans) else IGNORED
        for token, (left, right) in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    return ids, labels


def _text(text: str, tokenizer: Any) -> tuple[list[int], list[int]]:
    ids = list(tokenizer(text)["input_ids"])
    if not ids or ids[-1] != tokenizer.eos_token_id:
        ids.append(tokenizer.eos_token_id)
    return ids, list(ids)


def _spare_token(tokenizer: Any) -> str | None:
    """A token the model already has and never says: made for padding, or reserved."""
    vocabulary = tokenizer.get_vocab()
    for name in _candidates(vocabulary):
        if name in vocabulary and vocabulary[name] != tokenizer.eos_token_id:
            return name
    unknown = tokenizer.unk_token
    return unknown if unknown and unknown != tokenizer.eos_token else None


def _candidates(vocabulary: Iterable[str]) -> Iterable[str]:
    yield from (
        "<|finetune_right_pad_id|>",
        "<|pad|>",
        "<pad>",
        "[PAD]",
        "<|fim_pad|>",
        "<|vision_pad|>",
        "<|endoftext|>",
    )
    yield from sorted(name for name in vocabulary if "reserved" in name.lower() and name.startswith("<"))
    yield from ("<unk>",)
