"""The prompts of a proof: the run's own questions, then rows it never learned from, then a few plain ones."""

from __future__ import annotations

from engine.deliver.export.job import Job
from engine.deliver.prompts import Prompt, of_run
from engine.errors import UserError

FEWEST, USUAL, MOST = 3, 8, 32
ENOUGH = 128
"""Tokens of answers that make a share meaningful; with shorter answers more prompts are asked."""
NEW_TOKENS = 64
LONGEST = 768  # tokens of a prompt
_PLAIN = (
    "What is the capital of France?",
    "Explain in one sentence why the sky is blue.",
    "Count from 1 to 12, then say thanks. (It's 3.14!)",
)


def candidates(job: Job) -> list[Prompt]:
    """Prompts in the order in which they are asked; more than are needed."""
    config = job.trained.config
    try:
        found, _ = of_run(job.run, config, MOST)
    except UserError:  # the data are gone: any text will do to compare two forms of one model
        found = []
    if len(found) >= FEWEST:
        return found
    is_text = job.trained.kind == "text"
    return [
        *found,
        *(Prompt("plain", words if is_text else [{"role": "user", "content": words}]) for words in _PLAIN),
    ]
