"""Rows as token ids with the same mask as in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.config.schema import RunConfig
from engine.train.tokens import IGNORED


@dataclass(frozen=True, slots=True)
class Masked:
    """Tokens, and which of them count.

    Attributes:
        ids: All tokens.
        labels: The same, or -100 where a token is seen but does not count.
    """

    ids: list[int]
    labels: list[int]

    @property
    def counted(self) -> int:
        """How many predictions count; the first token is not predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True, slots=True)
class Sequences:
    """What is read of one row.

    Attributes:
        wanted: The answer that should become likely; a text may come in several pieces.
        rejected: The worse answer of a pair.
        good: False for an answer that is marked bad.
        scored: Ids of better and worse answer for a reward model.
    """

    wanted: list[Masked]
    rejected: Masked | None = None
    good: bool = True
    scored: tuple[list[int], list[int]] | None = None


def of_row(row: dict[str, Any], tokenizer: Any, config: RunConfig) -> Sequences:
    """The row as the run's own objective prepares it; nothing in it where training would have left it out."""
    objective = config.method.objective
    conversational = "text" not in row
    if objective in ("grpo", "rloo"):
        return Sequences([])
    if objective == "sft":
        from engine.config.schema import ORDINARY_LENGTH
        from engine.train.many_rows import tokenize_rows

        only = config.template.assistant_only_loss and conversational
        made = tokenize_rows([row], tokenizer, config.training.max_length or ORDINARY_LENGTH, only).rows
        return Sequences([Masked(one["input_ids"], one["labels"]) for one in made])
    from engine.train.objectives import load_objective

    # orpo's own form is that of pairs with more columns
    prepare = load_objective("dpo" if objective == "orpo" else objective).prepare
    rows = prepare([row], tokenizer, config, conversational).rows
    if objective == "cpt":
        return Sequences([Masked(one["input_ids"], one["labels"]) for one in rows])
    if not rows:
        return Sequences([])
    one = rows[0]
    if objective == "reward":
        return Sequences([], scored=(one["chosen_ids"], one["rejected_ids"]))
    if objective == "kto":
        return Sequences([_answer(one, "completion_ids")], good=bool(one["label"]))
    return Sequences([_answer(one, "chosen_ids")], _answer(one, "rejected_ids"))


def _answer(row: dict[str, Any], column: str) -> Masked:
    prompt, answer = list(row["prompt_ids"]), list(row[column])
    return Masked(prompt + answer, [IGNORED] * len(prompt) + answer)
