"""Two or more answers with a choice or scores: the best and the worst make a preference pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from engine.data.cells import RowProblemError, parsed
from engine.data.columns import SYSTEMS, Mapped, Sample
from engine.data.forms import Form, Preference
from engine.data.shapes.base import Candidate, Shape, cell, optional_columns
from engine.data.shapes.preference import preference, prompt_column
from engine.display import printable

_STEMS = (
    "response",
    "answer",
    "output",
    "completion",
    "conversation",
    "human_ref",
    "model_response",
    "text",
    "reply",
    "option",
)
_ENDS = (("a", "b"), ("0", "1"), ("1", "2"), ("A", "B"))
_WINNERS = (
    "winner", "preference", "better_response_id", "choice", "preferred", "label", "labels", "best", "selected",
    "overall_preference", "human_preference", "chosen", "ranking",
)  # fmt: skip
_SIGNED = ("overall_preference", "preference_strength")
"""Columns with how much better the second answer is; less than zero where the first one is, as in HelpSteer."""
_LISTS = (
    "completions",
    "responses",
    "answers",
    "candidates",
    "generations",
    "outputs",
    "summaries",
    "replies",
    "output",
)
_SCORES = (
    "overall_score",
    "score",
    "rating",
    "ratings",
    "scores",
    "rank",
    "pm_score",
    "fine_grained_score",
    "reward",
)
_TEXT_KEYS = ("response", "text", "answer", "content", "completion", "output")


def _detect_two(sample: Sample) -> Iterator[Candidate]:
    for stem, (first, second) in product(_STEMS, _ENDS):
        one = sample.columns.get(f"{stem}_{first}".lower()) or sample.columns.get(f"{stem}{first}".lower())
        two = sample.columns.get(f"{stem}_{second}".lower()) or sample.columns.get(f"{stem}{second}".lower())
        if one is None or two is None:
            continue
        winner = sample.column(
            _WINNERS, lambda name: sample.holds(name, lambda value: _side(value) is not None)
        )
        used = {"first": one, "second": two}
        scores = [sample.columns.get(f"score_{end}".lower()) for end in (first, second)]
        if scores[0] is not None and scores[1] is not None:  # numbers leave no doubt which side a label means
            used |= {"first_score": scores[0], "second_score": scores[1]}
        elif strength := sample.column(_SIGNED, lambda name: _is_signed(sample, name)):
            used["strength"] = strength
        elif winner is not None:
            used["winner"] = winner
        else:
            continue
        if prompt := prompt_column(sample, (one, two, *used.values())):
            used["prompt"] = prompt
        used |= optional_columns(sample, used, system=SYSTEMS)
        shown = f"{printable(one, 40)} and {printable(two, 40)}"
        yield Candidate(used, 0.97, f"{shown} are two answers, and another column says which is better.")
        return


def _is_signed(sample: Sample, column: str) -> bool:
    numbers = [_number(value) for value in sample.values(column)]
    return None not in numbers and any(number < 0 for number in numbers if number is not None)


def _side(value: Any) -> int | None:
    """Which answer won: 0 or 1; -1 for a tie; None where the value tells nothing."""
    if isinstance(value, bool):
        return int(value)
    text = str(value).strip().lower()
    for side, ends in enumerate(
        (("a", "first", "left", "answer1", "response1"), ("b", "second", "right", "answer2", "response2"))
    ):
        if text in ends or text.endswith((f"_{ends[0]}", f" {ends[0]}")):
            return side
    if text in ("tie", "both", "neither", "equal", "same", "tie (bothbad)", "bothbad"):
        return -1
    return {"0": 0, "1": 1, "2": 2}.get(text.removesuffix(".0"))


def _two(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    if "winner" in mapping:
        side = _side(cell(row, mapping, "winner"))
        # Answers numbered from 1 are chosen by number; answers named 0, A or first by position.
        if mapping["first"][-1] == "1" and mapping["second"][-1] == "2" and side in (1, 2):
            side -= 1
    else:
        if "strength" in mapping:
            scores = [0.0, _number(cell(row, mapping, "strength"))]
        else:
            scores = [_number(cell(row, mapping, name)) for name in ("first_score", "second_score")]
        if scores[0] is None or scores[1] is None:
            side = None
        else:
            side = -1 if scores[0] == scores[1] else int(scores[1] > scores[0])
    if side not in (0, 1):
        problem = (
            "neither answer is better (a tie)" if side == -1 else "it is not said which answer is better"
        )
        raise RowProblemError(problem, mapping.get("winner", "score"))
    answers = [cell(row, mapping, name) for name in ("first", "second")]
    better, worse = answers if side == 0 else answers[::-1]
    return [
        preference(cell(row, mapping, "prompt"), better, worse, mapping, system=cell(row, mapping, "system"))
    ]


def _detect_many(sample: Sample) -> Iterator[Candidate]:
    column = sample.column(_LISTS, lambda name: sample.holds(name, _is_scored))
    winner = None
    if column is None:
        column = sample.column(_LISTS, lambda name: sample.holds(name, _is_texts))
        winner = column and sample.column((*_WINNERS, *_SCORES), lambda name: name != column)
        if column is None or winner is None:
            column = sample.column(("output",), lambda name: sample.holds(name, _is_ordered))
            if column is None:
                return
    used = {"answers": column}
    if winner:
        used["winner"] = winner
    if prompt := prompt_column(sample, tuple(used.values())):
        used["prompt"] = prompt
    elif "info" in sample.columns:
        used["prompt"] = f"{sample.columns['info']}.post"
    used |= optional_columns(sample, used, input=("input",), system=SYSTEMS)
    yield Candidate(used, 0.98, f"{printable(column, 40)} holds several answers to compare.")


def _is_scored(value: Any) -> bool:
    value = parsed(value)
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, dict) for item in value):
        return False
    return _text(value[0]) is not None and any(key in value[0] for key in _SCORES)


def _is_texts(value: Any) -> bool:
    value = parsed(value)
    return isinstance(value, list) and len(value) > 1 and all(_text(item) is not None for item in value)


def _is_ordered(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _text(item: Any) -> Any:
    if isinstance(item, dict):
        return next((item[key] for key in _TEXT_KEYS if isinstance(item.get(key), str)), None)
    return item if isinstance(item, str) else None


def _many(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    answers = parsed(cell(row, mapping, "answers"))
    if not isinstance(answers, list) or len(answers) < 2:
        raise RowProblemError("fewer than two answers to compare", mapping["answers"])
    texts = [_text(item) for item in answers]
    if any(text is None for text in texts):
        raise RowProblemError("an answer is not text", mapping["answers"])
    if "winner" not in mapping and all(isinstance(item, str) for item in answers):
        best, worst = 0, len(answers) - 1  # written in order, the best first
    else:
        scores = _scores(answers, parsed(cell(row, mapping, "winner")))
        best, worst = scores.index(max(scores)), scores.index(min(scores))
        if scores[best] == scores[worst]:
            raise RowProblemError(
                "no answer is better than the others", mapping.get("winner", mapping["answers"])
            )
    prompt = cell(row, mapping, "prompt")
    return [
        preference(
            prompt,
            texts[best],
            texts[worst],
            mapping,
            extra=cell(row, mapping, "input"),
            system=cell(row, mapping, "system"),
        )
    ]


def _scores(answers: list[Any], winner: Any) -> list[float]:
    if isinstance(winner, list) and len(winner) == len(answers):
        made = [_number(score) for score in winner]
    elif winner is not None and (number := _number(winner)) is not None and number == int(number):
        made = [float(index == int(number)) for index in range(len(answers))]
    else:
        key = next((key for key in _SCORES if isinstance(answers[0], dict) and key in answers[0]), "")
        made = [_number(item.get(key)) if isinstance(item, dict) else None for item in answers]
        if key == "rank":
            made = [None if score is None else -score for score in made]
    if any(score is None for score in made):
        raise RowProblemError("an answer has no score", "score")
    return [float(score or 0) for score in made]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


SHAPES = (
    Shape(
        "two_answers", "two answers and which one is better", Preference, ("first", "second"), _detect_two, _two,
        ("prompt", "winner", "strength", "first_score", "second_score", "system"),
    ),
    Shape(
        "ranked_answers", "several answers with scores", Preference, ("answers",), _detect_many, _many,
        ("prompt", "input", "winner", "system"),
    ),
)  # fmt: skip
