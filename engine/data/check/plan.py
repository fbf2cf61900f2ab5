"""The words of a row: a quick way for ordinary rows, and the converter that training uses for all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.data.cells import RowProblemError, parsed
from engine.data.check.turns import Problem, in_order, turn_problems
from engine.data.conversation import is_turns
from engine.data.forms import Form
from engine.data.recognise import Reading
from engine.data.shapes import all_shapes
from engine.display import printable

Words = tuple[Sequence[str], Sequence[str]]
"""Who speaks, and what is said, turn by turn."""
ANSWERING = frozenset(("assistant", "thinking", "call", "chosen", "rejected", "good", "bad", "answer"))
"""Speakers whose words answer."""
_MOST_QUICK_TURNS = 200
_PAIRS = ("prompt_completion", "question_answer", "alpaca")
_CAUSES = {
    "surrogate": "half character",
    "not UTF-8": "not utf-8",
    "no assistant turn": "no assistant",
    "unknown role": "unknown role",
    "in a row": "role order",
    "starts with the": "role order",
    "not the first turn": "role order",
    "empty text": "empty text",
    "empty": "empty turn",
    "no conversation": "no turns",
    "no list of turns": "mixed types",
    "not text": "mixed types",
    "is not a": "mixed types",
    "has no ": "missing field",
}


@dataclass(slots=True)
class Plan:
    """How the rows of one dataset are read; it travels to other processes.

    Attributes:
        reading: The reading, as recognised.
        telltale: Bytes that a line holds once for each turn, or once: more of them mean a name used twice.
    """

    reading: Reading
    telltale: bytes = field(init=False)
    _turns: str | None = field(init=False)
    _pair: tuple[str, str] | None = field(init=False)
    _others: tuple[str, ...] = field(init=False)
    _quick: bool = field(init=False)

    def __post_init__(self) -> None:
        self.reading = replace(self.reading, alternatives=())
        shape, mapping = self.reading.shape, self.reading.mapping
        plain = self.reading.use is None
        self._turns = mapping["messages"] if shape in ("messages", "sharegpt") else None
        self._pair = None
        if plain and shape in _PAIRS and {"prompt", "completion"} <= mapping.keys():
            self._pair = mapping["prompt"], mapping["completion"]
        used = ("messages",) if self._turns else ("prompt", "completion")
        self._others = tuple(column for role, column in mapping.items() if role not in used)
        self._quick = plain
        name = {"messages": "content", "sharegpt": "value"}.get(shape) or next(iter(mapping.values()), "")
        self.telltale = b'"' + name.encode("utf-8", "replace") + b'"'

    @property
    def turns_column(self) -> str | None:
        """The column with lists of turns, where there is one."""
        return self._turns

    @property
    def joins_rows(self) -> bool:
        """Examples are spread over several rows."""
        return any(shape.name == self.reading.shape and shape.gather is not None for shape in all_shapes())

    def telltale_count(self, row: Mapping[str, Any]) -> int:
        """How often `telltale` may be in the line of a row."""
        turns = row.get(self._turns) if self._turns else None
        return len(turns) if isinstance(turns, list) else 1

    def quick(self, row: Mapping[str, Any]) -> Words | None:
        """The words of a row with nothing special about it; None where a closer look is needed."""
        for column in self._others:
            if row.get(column):
                return None
        if self._turns is not None and self._quick:
            return _quick_turns(row.get(self._turns))
        if self._pair is not None:
            return _quick_pair(row.get(self._pair[0]), row.get(self._pair[1]))
        return None

    def forms(self, row: Mapping[str, Any]) -> list[Form]:
        """The training examples of a row.

        Raises:
            RowProblemError: It cannot be trained on.
        """
        return self.reading.forms(row)

    def words(self, row: Mapping[str, Any]) -> Words:
        """The words of any row, those of all its examples.

        Raises:
            RowProblemError: It cannot be trained on.
        """
        spoken = [turn for form in self.forms(row) for turn in form.spoken()]
        if not spoken:
            raise RowProblemError("the row is empty")
        return [who for who, _ in spoken], [text for _, text in spoken]

    def problems(self, row: Mapping[str, Any], cause: RowProblemError | None) -> Iterator[Problem]:
        """What is wrong with a row, turn by turn where it has turns.

        Args:
            row: The row.
            cause: Why it cannot be used; None for a row that can.
        """
        turns = parsed(row.get(self._turns)) if self._turns else None
        found = list(turn_problems(turns, str(self._turns))) if self._turns and _is_plain(turns) else []
        if not found and cause is not None:
            said = str(cause)
            kind = next((kind for words, kind in _CAUSES.items() if words in said), "unusable")
            if kind == "empty turn" and not said.startswith(("turn", "empty answer")):
                kind = "empty text"
            if kind == "unusable" and said.startswith("no "):
                kind = "missing field"
            found = [(kind, printable(cause.field, 60), printable(said, 200))]
        yield from found


def _is_plain(turns: Any) -> bool:
    """Turns as objects, or something that is no turns at all; not one of the rarer ways to write them."""
    return not turns or is_turns(turns) or isinstance(turns, int | float)


def _quick_turns(turns: Any) -> Words | None:
    if type(turns) is not list or not 2 <= len(turns) <= _MOST_QUICK_TURNS:
        return None
    try:
        names = ("role", "content") if "role" in turns[0] else ("from", "value")
        speakers = tuple([turn[names[0]] for turn in turns])
        texts = [turn[names[1]] for turn in turns]
        if not in_order(speakers):
            return None
    except (KeyError, TypeError, AttributeError):
        return None
    for text in texts:
        if type(text) is not str or not text or text.isspace():
            return None
    for turn in turns:
        if len(turn) > 2 and (
            turn.get("tool_calls")
            or turn.get("function_call")
            or turn.get("weight") == 0
            or turn.get("train") is False
        ):
            return None
    return speakers, texts


def _quick_pair(prompt: Any, completion: Any) -> Words | None:
    if type(prompt) is not str or type(completion) is not str:
        return None
    # Lists written as text and written-out conversations begin in other ways.
    if not prompt[:1].isalnum() or ":" in prompt[:40] or not completion[:1].isalnum():
        return None
    return ("user", "assistant"), (prompt, completion)
