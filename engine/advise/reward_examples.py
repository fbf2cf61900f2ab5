"""What the reward functions of a run say of example answers, before the run; they run in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from engine.config.schema import RunConfig
from engine.display import printable
from engine.errors import UserError

PATIENCE = 60.0  # seconds beyond the time limit of the functions: starting, reading the data


@dataclass(frozen=True, slots=True)
class Scored:
    """An example answer and its rewards.

    Attributes:
        prompt: What was asked; foreign text.
        kind: ``right``, ``wrong``, ``in tags`` or ``empty``.
        answer: The answer; foreign text.
        scores: By function; None where it has no opinion.
        total: Weighted sum.
    """

    prompt: str
    kind: str
    answer: str
    scores: dict[str, float | None]
    total: float


def example_scores(config: RunConfig) -> list[Scored]:
    """Score a right, a wrong and an empty answer to the first prompts of the data. Takes a second or two.

    Args:
        config: A run that learns by rewards, with ``reward_funcs`` set.

    Raises:
        UserError: A function failed, took too long, or cannot be loaded; it names the answer that broke it.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "engine.train.rewards.preview"],
            input=config.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=config.rewards.reward_time_limit * 3 + PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            "The reward functions did not come to an end on three example prompts.",
            printable(config.rewards.reward_file or "reward_funcs", 300),
            "Make them faster; they run after every batch of answers.",
        ) from None
    try:
        told = json.loads(done.stdout)
        if done.returncode == 2:
            raise UserError(told["what"], told["where"], told["fix"])
        weights = dict(zip(told["functions"], told["weights"], strict=True))
        return [
            Scored(
                example["prompt"],
                example["kind"],
                example["answer"],
                example["scores"],
                sum(weights[name] * (score or 0.0) for name, score in example["scores"].items()),
            )
            for example in told["examples"]
        ]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            "The reward functions ended their process before they gave scores.",
            printable(config.rewards.reward_file or "reward_funcs", 300),
            f"What it said last: {printable(done.stderr.strip()[-300:], 300)}",
        ) from None


def lines(scored: list[Scored]) -> list[str]:
    """The examples as a small table, safe to print."""
    names = list(scored[0].scores) if scored else []
    head = f"{'answer':<8} {' '.join(f'{printable(name, 12):>12}' for name in names)} {'total':>8}"
    made: list[str] = []
    prompt = None
    for example in scored:
        if example.prompt != prompt:
            prompt = example.prompt
            made += ["", f"Prompt: {printable(prompt, 100)}", head]
        numbers = " ".join(
            f"{'-' if score is None else f'{score:.2f}':>12}" for score in example.scores.values()
        )
        made.append(f"{example.kind:<8} {numbers} {example.total:>8.2f}   {printable(example.answer, 60)}")
    return ["What the reward functions say of example answers:", *made]
