"""``python -m engine.train.rewards.preview``: score example answers in a process of its own, as the user's code may do anything.

It reads the configuration as JSON and writes the scores as JSON; nothing else goes to its standard output.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from typing import Any

from engine.config.schema import RunConfig
from engine.data.dataset import Dataset, Example
from engine.data.forms import PromptOnly
from engine.errors import UserError
from engine.train.rewards.guard import Guarded
from engine.train.rewards.load import load_rewards

ROWS = 3


def preview(config: RunConfig) -> dict[str, Any]:
    """Scores of a right, a wrong and an empty answer to the first prompts.

    Returns:
        ``functions``: their names; ``weights``; ``examples``: a list of prompt, kind, answer, and scores by function.

    Raises:
        UserError: The data or a reward function cannot be used; it names the answer that broke it.
    """
    functions = {
        name: Guarded(name, function, config.rewards.reward_time_limit)
        for name, function in load_rewards(config.rewards).items()
    }
    data = Dataset(config.data.train_specs()[0], config.method.objective)
    found = (item.form for item in data.items() if isinstance(item, Example))
    rows = [form for form in islice(found, ROWS + 1) if isinstance(form, PromptOnly)]
    examples: list[dict[str, Any]] = []
    for index, form in enumerate(rows[:ROWS]):
        other = rows[(index + 1) % len(rows)].answer
        answers = [("right", form.answer)] if form.answer is not None else []
        answers += [("wrong", other)] if other is not None and other != form.answer else []
        if "tags" in functions:
            names = config.rewards.reward_tags
            inside = ["..."] * (len(names) - 1) + [form.answer or "..."]
            tagged = [f"<{name}> {text} </{name}>" for name, text in zip(names, inside, strict=True)]
            answers += [("in tags", " ".join(tagged))]
        answers += [("empty", "")]
        texts = [text or "" for _, text in answers]
        columns = {
            name: [value] * len(texts)
            for name, value in {**form.extra, "answer": form.answer, "messages": form.prompt}.items()
        }
        scores = {
            name: function(texts, prompts=[form.prompt[-1]["content"]] * len(texts), **columns)
            for name, function in functions.items()
        }
        examples += [
            {
                "prompt": str(form.prompt[-1]["content"]),
                "kind": kind,
                "answer": text or "",
                "scores": {name: given[at] for name, given in scores.items()},
            }
            for at, (kind, text) in enumerate(answers)
        ]
    weights = config.rewards.reward_weights or [1.0] * len(functions)
    return {"functions": list(functions), "weights": weights, "examples": examples}


def main() -> int:
    """Read, score, write; 2 for what the user can put right."""
    config = RunConfig.model_validate_json(sys.stdin.read())
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)  # what the functions print, or programs that they start
        try:
            told, code = preview(config), 0
        except UserError as error:
            told, code = {"what": error.what, "where": error.where, "fix": error.fix}, 2
        answer.write(json.dumps(told, default=str))
    return code


if __name__ == "__main__":
    sys.exit(main())
