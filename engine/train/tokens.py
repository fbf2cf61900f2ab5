"""From rows to token ids and labels: the one place that decides what is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.render import NAMED_TOKENS, writer_for
from engine.data.templates.learnt import Writer, mask_of
from engine.data.templates.source import find_template
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was changed in a tokenizer.

    Attributes:
        notes: In sentences for the user.
        added: Texts of the tokens that the template needs and the model did not know as such; they have to be learnt.
        new: Those of them whose rows in the embeddings mean nothing yet.
        known: How many tokens the model knew.
        end: The end-of-turn token, where it is not the one the model had.
        previous_end: Id of the one it had.
    """

    notes: list[str]
    added: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    known: int = 0
    end: str | None = None
    previous_end: int | None = None


def prepare_tokenizer(tokenizer: Any, chat_template: str, conversational: bool, model: str = "") -> Prepared:
    """Give a tokenizer the template it needs, the tokens of that template, and a pad token that is not the end token.

    Args:
        tokenizer: A transformers tokenizer; changed in place.
        chat_template: ``model``, a name of the catalogue, or the path of a Jinja file.
        conversational: Whether the data are conversations, which need a template.
        model: Id or folder of the model.

    Raises:
        UserError: The template file cannot be read, or the tokenizer knows no end token.
    """
    notes: list[str] = []
    added: tuple[str, ...] = ()
    end: str | None = None
    before = tokenizer.get_vocab()
    previous_end = tokenizer.eos_token_id
    if conversational:
        source = find_template(chat_template, _own_template(tokenizer), model or str(tokenizer.name_or_path))
        added = source.missing(_whole_tokens(tokenizer))
        if added:
            tokenizer.add_special_tokens(
                {"extra_special_tokens": list(added)}, replace_extra_special_tokens=False
            )
            notes.append(
                f"The template {source.title} needs tokens that the model does not have: {', '.join(added)} are added, "
                "and the model learns them."
            )
        if not source.own:
            tokenizer.chat_template = source.text
            if chat_template == "model":
                notes.append(f"{source.choice.reason} The template is saved with the result.")
            if source.ends and source.ends[0] != tokenizer.eos_token:
                end = source.ends[0]
                tokenizer.eos_token = end
                notes.append(f"The end token is now {end}: with it the model ends its answers.")
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
    new = tuple(token for token in added if token not in before)
    return Prepared(notes, added, new, len(before), end, previous_end)


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
    writer = writer_of(tokenizer)[0] if tokenizer.chat_template else None
    made: list[dict[str, list[int]]] = []
    truncated = without_target = tokens = trained = stopping = 0
    ends = end_ids(tokenizer)
    for row in rows:
        ids, labels = (
            _conversation(row, tokenizer, writer, assistant_only_loss)
            if writer is not None and "messages" in row
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
        stopping += _stops(labels, tokenizer, ends)
    return Tokenized(
        made, len(rows), truncated, without_target, tokens, trained, stopping / len(made) if made else 0.0
    )


def end_ids(tokenizer: Any) -> set[int]:
    """Ids that end a turn: the end token, and the end-of-turn tokens of the template."""
    if tokenizer.chat_template:
        return set(writer_of(tokenizer)[1])
    return {tokenizer.eos_token_id}


def writer_of(tokenizer: Any) -> tuple[Writer, dict[int, str]]:
    """What writes conversations with the tokenizer's template; the same code as the X-ray's."""
    own = _own_template(tokenizer)
    assert own is not None, "conversations need a template"
    named = {name: str(text) for name in NAMED_TOKENS if (text := getattr(tokenizer, name, None))}
    return writer_for(find_template("model", own), named, _whole_tokens(tokenizer))


def _whole_tokens(tokenizer: Any) -> dict[str, int]:
    """Tokens that are never cut into pieces, with their ids."""
    return {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}


def _own_template(tokenizer: Any) -> tuple[str, str] | None:
    template = tokenizer.chat_template
    if isinstance(template, dict):  # named variants; the one for plain chat is called 'default'
        template = template.get("default")
    return (template, "the model's chat template") if template else None


def _conversation(
    row: dict[str, Any], tokenizer: Any, writer: Writer, assistant_only: bool
) -> tuple[list[int], list[int]]:
    learnt = writer.learnt(row["messages"], row.get("tools"), assistant_only)
    encoded = tokenizer(learnt.text, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    mask = mask_of([tuple(pair) for pair in encoded["offset_mapping"]], learnt.spans)
    return ids, [token if bit else IGNORED for token, bit in zip(ids, mask, strict=True)]


def _stops(labels: Sequence[int], tokenizer: Any, ends: set[int]) -> bool:
    """The last learnt token, spaces aside, ends a turn."""
    for label in reversed(labels):
        if label in ends:
            return True
        if label != IGNORED and tokenizer.decode([label]).strip():
            return False
    return False


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
