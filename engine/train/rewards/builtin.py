"""The reward functions that come with finetui. Each scores a list of answers, one number from 0 to 1 for each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from engine.config.objective_sections import Rewards
from engine.data.shapes.prompts import final_answer

RewardFunction = Callable[..., "Sequence[float | None]"]
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?")
_FENCE = re.compile(r"^```(?:json)?\s*\n(.*?)\n?```$", re.DOTALL)
SAME = 1e-6  # how far apart two numbers may lie, relative to the right one


def exact(completions: Sequence[str], answer: Sequence[str | None], **columns: Any) -> list[float | None]:
    """1 for the right answer, word by word; capitals, spaces and a full stop at the end make no difference.

    Of answers that end in ``#### 7`` or ``\\boxed{7}`` only that part counts. None where the row has no right answer.
    """
    return [
        None if right is None else float(_plain(final_answer(text)) == _plain(final_answer(str(right))))
        for text, right in zip(completions, answer, strict=True)
    ]


def numeric(completions: Sequence[str], answer: Sequence[str | None], **columns: Any) -> list[float | None]:
    """1 for the right number: the one behind ``####`` or in ``\\boxed{}``, else the last in the answer; 1,000 is 1000.0."""
    return [
        None if right is None else float(_same_number(last_number(text), last_number(str(right))))
        for text, right in zip(completions, answer, strict=True)
    ]


def valid_json(completions: Sequence[str], **columns: Any) -> list[float]:
    """1 for an answer that is a JSON object or list, also inside a fence of three backticks."""
    return [float(_is_json(text)) for text in completions]


def regex(pattern: str) -> RewardFunction:
    """1 for an answer in which the pattern is found."""
    compiled = re.compile(pattern, re.DOTALL)

    def score(completions: Sequence[str], **columns: Any) -> list[float]:
        return [float(compiled.search(text) is not None) for text in completions]

    return score


def tags(names: Sequence[str]) -> RewardFunction:
    """The share of the tags that occur exactly once, closed, and after those before them."""

    def score(completions: Sequence[str], **columns: Any) -> list[float]:
        return [_tag_share(text, names) for text in completions]

    return score


def length(most: int) -> RewardFunction:
    """1 up to so many characters, then falling evenly to 0 at twice as many; nothing for an empty answer."""

    def score(completions: Sequence[str], **columns: Any) -> list[float]:
        return [
            max(0.0, min(1.0, 2 - len(text.strip()) / most)) if text.strip() else 0.0 for text in completions
        ]

    return score


def builtin(name: str, settings: Rewards) -> RewardFunction:
    """The function of that name, made for these settings.

    Raises:
        re.error: ``reward_pattern`` is not a regular expression.
    """
    plain: dict[str, RewardFunction] = {"exact": exact, "numeric": numeric, "json": valid_json}
    if name in plain:
        return plain[name]
    if name == "regex":
        return regex(settings.reward_pattern or "")
    return tags(settings.reward_tags) if name == "tags" else length(settings.reward_length)


def last_number(text: str) -> float | None:
    """The final number of a worked-out answer; None where there is none. ``3/4`` is 0.75."""
    found = _NUMBER.findall(final_answer(text)) or _NUMBER.findall(text)
    if not found:
        return None
    top, _, bottom = found[-1].replace(",", "").rstrip(".").partition("/")
    try:
        return float(top) / (float(bottom) if bottom else 1.0)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _same_number(found: float | None, right: float | None) -> bool:
    return found is not None and right is not None and abs(found - right) <= SAME * max(1.0, abs(right))


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".!").casefold()


def _is_json(text: str) -> bool:
    text = text.strip()
    fenced = _FENCE.match(text)
    try:
        return isinstance(json.loads(fenced[1] if fenced else text), dict | list)
    except (ValueError, RecursionError):
        return False


def _tag_share(text: str, names: Sequence[str]) -> float:
    at = right = 0
    for name in names:
        start, end = text.find(f"<{name}>", at), text.find(f"</{name}>", at)
        once = text.count(f"<{name}>") == text.count(f"</{name}>") == 1
        if once and at <= start < end:
            right += 1
            at = end
    return right / len(names)
