"""Whether an answer is the expected one, word for word: how the demo's before and after numbers are counted."""

from __future__ import annotations


def is_correct_styled(answer: str, expected: str) -> bool:
    """Compare strictly, except that any run of white space counts as one space and the ends are trimmed.

    Args:
        answer: What the model wrote, special tokens removed.
        expected: The answer it should have given.
    """
    return answer.split() == expected.split()
