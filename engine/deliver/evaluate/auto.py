"""What is measured when nobody chooses: what fits the objective and the data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from engine.deliver.evaluate.answers import as_json, is_number, words
from engine.deliver.evaluate.kinds import AUTO

SHORT = 12  # words of a usual answer up to which it can be expected word for word
_MOST = 0.8  # share of the references that have to look alike


def chosen(wanted: Sequence[str], objective: str, is_text: bool, references: Sequence[str]) -> list[str]:
    """Names of the metrics to measure, the one that decides first.

    Args:
        wanted: What the user asked for; ``auto`` stands for what fits objective and data.
        objective: Of the run.
        is_text: The rows are texts, not conversations.
        references: The wanted answers that the data have.
    """
    made: list[str] = []
    for name in wanted or [AUTO]:
        made += _fitting(objective, is_text, references) if name == AUTO else [name]
    return list(dict.fromkeys(made))


def _fitting(objective: str, is_text: bool, references: Sequence[str]) -> list[str]:
    if objective == "reward":
        return []
    if is_text:
        return ["loss", "perplexity"]
    of_data = _of_references(references)
    if objective in ("grpo", "rloo"):
        return [*(name for name in of_data if name == "numeric"), "stops", "length"]
    if objective in ("dpo", "kto"):  # the better answer is one of many good ones
        return ["loss", "perplexity", "stops", "length"]
    return [*of_data, "loss", "perplexity", "stops", "length"]


def _of_references(references: Sequence[str]) -> list[str]:
    if not references:
        return []
    share_json = sum(as_json(text) is not None for text in references) / len(references)
    share_number = sum(is_number(text) for text in references) / len(references)
    usual = statistics.median(len(words(text)) for text in references)
    order = ["numeric"] if share_number >= _MOST else []
    order += ["exact_match"] if usual <= SHORT else []
    order += ["json_keys", "json"] if share_json >= _MOST else []
    return list(dict.fromkeys([*order, "token_f1", "exact_match", "rougeL"]))
