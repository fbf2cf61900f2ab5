"""What the trained model did with each prompt, and what an exported form did with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.deliver.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt and the reference answer.

    Attributes:
        prompt: The question.
        text: As training writes it.
        ids: Its token ids.
        answer: The trained model's greedy answer, the end token last where it stopped.
        stopped: It stopped by itself.
        said: The answer as text.
        logits: Of the trained model at each place of the answer, (n, vocabulary) float32.
    """

    prompt: Prompt
    text: str
    ids: tuple[int, ...]
    answer: tuple[int, ...]
    stopped: bool
    said: str
    logits: Any


@dataclass(frozen=True, slots=True)
class Seen:
    """What a form did with a case.

    Attributes:
        text: The prompt as its own template writes it; None where it has none.
        ids: Token ids as its own tokenizer cuts that.
        wanted_text: What it should have written, where that is not the case's text (an added system prompt).
        wanted_ids: The same as token ids.
        next: The likeliest token at each place of the reference answer.
        logits: The same as numbers, (n, vocabulary) float32; None where they are not looked at.
        stopped: It stopped by itself when it answered on its own.
        said: Its own answer.
        problem: Why its template or tokenizer refused; empty where not.
    """

    text: str | None
    ids: tuple[int, ...]
    next: tuple[int, ...]
    logits: Any
    stopped: bool
    said: str
    wanted_text: str | None = None
    wanted_ids: tuple[int, ...] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Stops:
    """How a form ends answers and pads rows.

    Attributes:
        ends: Ids of the tokens that end an answer.
        names: What the form calls the end tokens of the reference, by id.
        pad: Id of its pad token; -1 where it has none.
        end: Id of its end token; -1 where it has none.
    """

    ends: frozenset[int]
    names: Mapping[int, str]
    pad: int = -1
    end: int = -1


@dataclass(frozen=True, slots=True)
class Reference:
    """The trained model's side.

    Attributes:
        cases: What was asked and answered.
        words: What it is, such as ``base and adapter in bfloat16``.
        dtype: Number format in which it was computed.
        layers: Depth of the model.
        trained_in: ``4bit`` or ``8bit`` where its base is rounded.
        scores: It scores answers and writes none.
        bos: Text of the start token; empty where there is none.
        bos_id: Its id; -1 where there is none.
        end_names: Text of each token that ended an answer, by id.
        tokenizer: transformers' tokenizer, for the forms.
        notes: What was seen while asking.
    """

    cases: Sequence[Case]
    words: str
    dtype: str
    layers: int
    trained_in: str
    scores: bool
    bos: str
    bos_id: int
    end_names: Mapping[int, str]
    tokenizer: Any
    notes: list[str] = field(default_factory=list)

    @property
    def positions(self) -> int:
        """Tokens of all reference answers."""
        return sum(len(case.answer) for case in self.cases)
