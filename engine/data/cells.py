"""Values in the cells of a dataset: text, lists written as text, yes and no."""

from __future__ import annotations

import ast
import json
import warnings
from typing import Any

from engine.display import printable

_LONGEST_LITERAL = 2_000_000  # characters; Python literals are parsed slowly


class RowProblemError(Exception):
    """Why one row cannot be used: a short phrase such as ``empty answer``.

    Attributes:
        field: The column or turn it is about; may be empty.
        fix: What to do about it; may be empty.
    """

    def __init__(self, problem: str, field: str = "", fix: str = "") -> None:
        super().__init__(problem)
        self.field, self.fix = field, fix


def parsed(value: Any) -> Any:
    """A list or object written as text, as JSON or as Python writes it; anything else as it is."""
    if not isinstance(value, str):
        return value
    start = value.lstrip()[:1]
    if start not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    if len(value) > _LONGEST_LITERAL:
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd backslashes in the foreign text
            return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return value


def text_of(value: Any, what: str) -> str:
    """The text in a cell: numbers become text, lists of text parts are joined.

    Args:
        value: The cell.
        what: Its column, or ``turn 3``, for the message.

    Raises:
        RowProblemError: There is no text in it.
    """
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise RowProblemError(f"{_named(what)} {_broken(value)}", what, "Repair or remove it.")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        raise RowProblemError(
            f"{what} has no content" if what.startswith("turn ") else f"no {printable(what, 40)}", what
        )
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        kinds = {str(part.get("type") or "text") for part in value}
        if not kinds <= {"text", "input_text", "output_text"}:
            other = printable(", ".join(sorted(kinds - {"text"})), 60)
            raise RowProblemError(f"{_named(what)} has parts that are not text ({other})", what)
        return "".join(text_of(part.get("text"), what) for part in value)
    raise RowProblemError(f"{_named(what)} is not text", what)


def answer_text(value: Any, what: str) -> str:
    """The text of an answer, also where it is the first of several or lies in an object, as in SQuAD and TriviaQA.

    Raises:
        RowProblemError: There is no answer in it.
    """
    if isinstance(value, dict):
        inner = next((value[key] for key in ("text", "value", "answer", "content") if key in value), None)
        return answer_text(inner, what)
    if isinstance(value, list):
        if not value:
            raise RowProblemError(f"no {printable(what, 40)}", what)
        if not isinstance(value[0], dict) or "type" not in value[0]:
            return answer_text(value[0], what)
    return text_of(value, what)


_YES = "true yes y good 1 1.0 up thumbs_up thumbsup like liked positive desirable chosen accepted accept correct right helpful approved pass 👍 +1"
_NO = (
    "false no n bad 0 0.0 -1 -1.0 down thumbs_down thumbsdown dislike disliked negative undesirable rejected reject "
    "incorrect wrong unhelpful disapproved fail 👎"
)
_VERDICTS = dict.fromkeys(_YES.split(), True) | dict.fromkeys(_NO.split(), False)


_NUMBERS: dict[float, bool] = {1: True, 0: False, -1: False}


def verdict(value: Any) -> bool | None:
    """Good or bad, in any of the ways people write it; None where it is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _NUMBERS.get(value)
    if isinstance(value, str):
        return _VERDICTS.get(value.strip().lower().replace(" ", "_").replace("-u", "_u").replace("-d", "_d"))
    return None


def _named(what: str) -> str:
    return printable(what, 40) if what.startswith("turn ") else f"the {printable(what, 40)}"


def _broken(value: str) -> str:
    if any("\udc80" <= char <= "\udcff" for char in value):
        return "contains bytes that are not UTF-8"
    return "contains half a character (a lone surrogate)"
