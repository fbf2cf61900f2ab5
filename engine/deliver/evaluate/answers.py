"""Numbers that compare an answer with the one it should have been."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.deliver.evaluate.rouge import f_measure, rouge_l, rouge_n
from engine.deliver.style_score import is_correct_styled
from engine.train.rewards.builtin import SAME, last_number

_ARTICLES = frozenset(("a", "an", "the"))
_CLOSED_UP = str.maketrans("", "", string.punctuation)
# Scripts that put no spaces between words: each character counts as one.
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def exact_match(answer: str, reference: str) -> float:
    """1 where the words are the same; only white space makes no difference."""
    return float(is_correct_styled(answer, reference))


def token_f1(answer: str, reference: str) -> float:
    """Share of words in common, in the manner of SQuAD: small letters, without punctuation and English articles.

    Source: Rajpurkar et al., "SQuAD", 2016, and its evaluate-v1.1.py: what stood around a mark is one word then (its, 1000).
    Marks of other scripts, which it leaves where they are, part words.
    """
    mine, right = (words(text.translate(_CLOSED_UP), _ARTICLES) for text in (answer, reference))
    return f_measure((Counter(mine) & Counter(right)).total(), len(mine), len(right))


def rouge1(answer: str, reference: str) -> float:
    """Overlap of words."""
    return rouge_n(words(answer), words(reference), 1)


def rouge2(answer: str, reference: str) -> float:
    """Overlap of pairs of words."""
    return rouge_n(words(answer), words(reference), 2)


def rouge_order(answer: str, reference: str) -> float:
    """Overlap of words in the same order (ROUGE-L)."""
    return rouge_l(words(answer), words(reference))


def valid_json(answer: str, reference: str) -> float:
    """1 for an answer that is a JSON object or list and nothing else."""
    return float(as_json(answer) is not None)


def json_keys(answer: str, reference: str) -> float:
    """F-measure of the keys, also of those inside others; 0 for an answer that is no JSON."""
    mine, right = as_json(answer), as_json(reference)
    if mine is None or right is None:
        return 0.0
    found, wanted = set(_paths(mine)), set(_paths(right))
    return f_measure(len(found & wanted), len(found), len(wanted))


def numeric(answer: str, reference: str) -> float:
    """1 for the right number: behind ``####`` or in ``\\boxed{}``, else the last one of the answer."""
    mine, right = last_number(answer), last_number(reference)
    return float(mine is not None and right is not None and abs(mine - right) <= SAME * max(1.0, abs(right)))


MEASURES: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "rouge1": rouge1,
    "rouge2": rouge2,
    "rougeL": rouge_order,
    "json": valid_json,
    "json_keys": json_keys,
    "numeric": numeric,
}


def words(text: str, without: frozenset[str] = frozenset()) -> list[str]:
    """Small letters without punctuation, cut at white space; every character of a script that has no spaces."""
    plain = "".join(
        " " if unicodedata.category(char)[0] in "PSZC" else char
        for char in unicodedata.normalize("NFKC", text).casefold()
    )
    return [word for word in _NO_SPACES.sub(r" \g<0> ", plain).split() if word not in without]


def as_json(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that a text is; None for any other text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def is_number(text: str) -> bool:
    """The reference is a number, or ends with one behind ``####`` or in ``\\boxed{}``."""
    if "####" in text or "\\boxed" in text:
        return last_number(text) is not None
    return (
        re.fullmatch(r"\s*[-+$€£]?\s*[\d.,/ ]*\d\s*[%$€£]?\s*", text) is not None
        and last_number(text) is not None
    )


def _paths(value: Any, above: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{above}.{key}"
            yield from _paths(inner, f"{above}.{key}")
    elif isinstance(value, list):
        yield f"{above}[]"
        for inner in value:
            yield from _paths(inner, f"{above}[]")
