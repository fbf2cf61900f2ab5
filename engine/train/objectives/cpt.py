"""Continued pre-training: go on reading raw text, packed into blocks of the full length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trl import SFTConfig

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.train.many_rows import tokenize_rows
from engine.train.objectives.base import Objective, max_length
from engine.train.objectives.sft import Trainer, own
from engine.train.samples import Answer, continue_all
from engine.train.tokens import Tokenized

LONGEST = 1 << 40  # texts are cut into blocks, never cut off


def prepare(
    rows: Sequence[dict[str, Any]], tokenizer: Any, config: RunConfig, conversational: bool
) -> Tokenized:
    """Texts one after the other, each ended by the end token, cut into blocks of max_length; every token is learnt.

    As in pre-training, a block may hold the end of one text and the beginning of another; the end token between them tells
    the model that they have nothing to do with each other.
    """
    texts = tokenize_rows(rows, tokenizer, LONGEST, False)
    stream = [token for row in texts.rows for token in row["input_ids"]]
    size = max_length(config)
    blocks = [stream[start : start + size] for start in range(0, len(stream), size)]
    if len(blocks) > 1 and len(blocks[-1]) < 2:
        blocks.pop()  # a single token predicts nothing
    made = [{"input_ids": block, "labels": list(block)} for block in blocks]
    tokens = sum(map(len, blocks))
    return replace(texts, rows=made, tokens=tokens, trained=tokens)


def ask(model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[dict[str, Any]]) -> list[Answer]:
    """How the model goes on from the user's beginnings."""
    beginnings = config.watch.sample_prompts
    texts = continue_all(model, tokenizer, beginnings, config.watch.sample_max_new_tokens)
    return [(beginning, *text) for beginning, text in zip(beginnings, texts, strict=True)]


OBJECTIVE = Objective(OBJECTIVES["cpt"], SFTConfig, Trainer, prepare, own, ask=ask)
