"""ROUGE: how much two texts overlap in words, pairs of words, and their order.

Own code because the package everybody uses, rouge-score 0.1.2, has had no release since 2022, brings nltk and absl for the
stemmer that is off by default, and keeps only the letters a to z and digits: every answer in Russian or Chinese scores 0.

Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004. F-measure with equal weight, as rouge-score has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

LONGEST = 4000  # words of a text that are looked at for the order, whose cost grows with their product


def rouge_n(answer: Sequence[str], reference: Sequence[str], n: int) -> float:
    """F-measure of the runs of `n` words that both have, from 0 to 1.

    Texts too short for a single run agree where they are the same; rouge-score gives a perfect answer of one word 0 there.

    Args:
        answer: Words of the one.
        reference: Words of the other.
        n: Words in a run.
    """
    mine, right = _runs(answer, n), _runs(reference, n)
    if not mine and not right:
        return float(list(answer) == list(reference))
    return f_measure((mine & right).total(), mine.total(), right.total())


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F-measure of the longest row of words that both have in the same order, from 0 to 1."""
    mine, right = answer[:LONGEST], reference[:LONGEST]
    row = [0] * (len(right) + 1)
    for word in mine:
        corner = 0
        for at, other in enumerate(right, 1):
            above = row[at]
            row[at] = corner + 1 if word == other else max(above, row[at - 1])
            corner = above
    return f_measure(row[-1], len(mine), len(right))


def f_measure(shared: int, mine: int, right: int) -> float:
    """Harmonic mean of precision and recall; two empty texts agree."""
    if not mine and not right:
        return 1.0
    return 2 * shared / (mine + right)


def _runs(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
