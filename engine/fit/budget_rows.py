"""How long the rows of a dataset are, guessed from its first ones without a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.errors import UserError

_BYTES_A_TOKEN = 4.0  # of English text in UTF-8, with vocabularies of 32,000 tokens and more
_TOKENS_A_TURN = 6  # that a chat template writes around each message


@dataclass(frozen=True, slots=True)
class RowsGuess:
    """The size of a dataset before it is tokenized.

    Attributes:
        rows: Of all training files, unusable ones included.
        tokens_per_row: Guessed from the first rows, cut at max_length.
    """

    rows: int
    tokens_per_row: float


def guess_rows(config: RunConfig) -> RowsGuess | None:
    """Look at the beginning of each training file; None where one cannot be read."""
    from engine.data.dataset import peek

    limit = config.training.max_length or ORDINARY_LENGTH
    rows, tokens = 0, 0.0
    try:
        for spec in config.data.train_specs():
            found = peek(spec)
            lengths = [min(row_tokens(row), limit) for _, row in found.examples]
            if not lengths:
                return None
            rows += found.num_rows
            tokens += found.num_rows * sum(lengths) / len(lengths)
    except UserError:
        return None
    return RowsGuess(rows, tokens / rows) if rows else None


def row_tokens(row: dict[str, Any]) -> float:
    """About how many tokens a row in training form has: ``{"messages": [...]}`` or ``{"text": ...}``."""
    messages = row.get("messages") or row.get("prompt")
    if isinstance(messages, list):
        answers = [
            row[kind] for kind in ("chosen", "rejected", "completion") if isinstance(row.get(kind), list)
        ]
        messages = messages + max(answers, key=lambda turns: len(str(turns)), default=[])
        return sum(_TOKENS_A_TURN + _text_tokens(_contents(message)) for message in messages)
    return 1 + _text_tokens([row.get("text")])


def _contents(message: Any) -> Iterable[Any]:
    return message.values() if isinstance(message, dict) else [message]


def _text_tokens(texts: Iterable[Any]) -> float:
    return sum(len(str(text).encode("utf-8", "replace")) for text in texts if text) / _BYTES_A_TOKEN
