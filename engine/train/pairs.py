"""From a prompt and its answer to token ids: where the prompt ends and what is judged begins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from engine.data.templates.learnt import Writer
from engine.train.tokens import writer_of


class Pairs:
    """Writes prompts and answers through a tokenizer's chat template, with the code that writes conversations."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.writer: Writer
        self.writer, self.ends = writer_of(tokenizer)

    def prompt(self, messages: Sequence[dict[str, Any]], tools: Any = None) -> str:
        """The text the model answers to."""
        return self.writer.text(messages, True, tools)

    def split(
        self, prompt: Sequence[dict[str, Any]], answer: Sequence[dict[str, Any]], tools: Any = None
    ) -> tuple[list[int], list[int]]:
        """Ids of the prompt and of the answer, which ends with the token that ends a turn.

        A template may write the beginning of an answer differently from the prompt for it; the answer begins where the two
        texts part.
        """
        before = self.prompt(prompt, tools)
        whole = self.writer.text([*prompt, *answer], tools=tools)
        ended = whole.rstrip()
        if ended.endswith(tuple(self.ends.values())):
            whole = ended  # nobody writes the line break behind the end of a turn
        start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False)))
        encoded = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids = list(encoded["input_ids"])
        cut = next(
            (index for index, (_, end) in enumerate(encoded["offset_mapping"]) if end > start), len(ids)
        )
        return ids[:cut], ids[cut:]

    def whole(
        self, prompt: Sequence[dict[str, Any]], answer: Sequence[dict[str, Any]], tools: Any = None
    ) -> list[int]:
        """Ids of prompt and answer together."""
        before, after = self.split(prompt, answer, tools)
        return before + after

    def stops(self, ids: Sequence[int]) -> bool:
        """The last token ends a turn."""
        return bool(ids) and ids[-1] in self.ends
