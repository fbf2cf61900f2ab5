"""What can be measured."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.display import printable
from engine.errors import UserError

Unit = Literal["share", "number", "tokens"]
AUTO = "auto"
LIMIT = 200  # rows that are measured when nobody says how many


@dataclass(frozen=True, slots=True)
class Kind:
    """A number that is measured on every row.

    Attributes:
        name: In commands and files.
        title: In tables.
        words: What it means, half a sentence.
        better: Where it should go; empty where it only tells.
        unit: A share is shown in percent.
    """

    name: str
    title: str
    words: str
    better: Literal["up", "down", ""] = "up"
    unit: Unit = "share"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("loss", "loss", "how surprising the wanted answers are", "down", "number"),
        Kind(
            "perplexity",
            "perplexity",
            "among how many words the model hesitates; the loss in another form",
            "",
            "number",
        ),
        Kind("exact_match", "exact match", "answers that are right word for word"),
        Kind("token_f1", "token F1", "words in common with the wanted answer"),
        Kind("rouge1", "ROUGE-1", "words in common with the wanted answer"),
        Kind("rouge2", "ROUGE-2", "pairs of words in common"),
        Kind("rougeL", "ROUGE-L", "words in common, in the same order"),
        Kind("json", "valid JSON", "answers that are JSON"),
        Kind("json_keys", "JSON keys", "keys as in the wanted answer"),
        Kind("numeric", "right number", "answers that end with the right number"),
        Kind("stops", "stops by itself", "answers that end before the length limit"),
        Kind("length", "answer length", "tokens of an answer", "", "tokens"),
        Kind("function", "your function", "mean of your own score", "up", "number"),
        Kind("judge", "judge prefers", "answers a judge prefers to the other model's, ties count half"),
        Kind("reward", "reward", "mean reward of the run's reward functions", "up", "number"),
        Kind("preference", "better is likelier", "pairs whose better answer is the likelier one, per token"),
        Kind("moved_right", "moved right", "examples moved the right way; 50 % is no movement"),
        Kind("accuracy", "pairs told apart", "pairs whose better answer scores higher"),
        Kind("margin", "margin", "distance between the scores of better and worse answers", "up", "number"),
    )
}
GIVEN = ("function", "judge", "reward", "moved_right", "accuracy", "margin", "preference")
"""Not asked for by name: an option or the objective brings them."""
ASKABLE = tuple(name for name in KINDS if name not in GIVEN)
OF_ANSWERS = frozenset(ASKABLE) - {"loss", "perplexity"}


def check(names: Sequence[str]) -> None:
    """Refuse names of metrics that do not exist.

    Raises:
        UserError: One does not.
    """
    for name in names:
        if name != AUTO and name not in ASKABLE:
            near = difflib.get_close_matches(name, ASKABLE, 1, 0.4)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UserError(
                f"There is no metric called {printable(name, 40)!r}.",
                "--metrics",
                f"{hint}There are: {AUTO}, {', '.join(ASKABLE)}.",
            )
