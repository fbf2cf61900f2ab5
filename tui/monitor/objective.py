"""The objective's own numbers: rewards, margins, accuracies, lengths of answers, with what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.advise.objectives import OBJECTIVES, Better, Metric
from engine.display import printable
from engine.run.events import number
from tui.plot import Series

MOST_METRICS = 24  # reward functions have names of their own, as many as the user wrote
OTHERS = frozenset(
    "v seq t attempt kind earlier step max_steps epoch loss learning_rate grad_norm num_tokens tokens_per_second "
    "eval_loss best best_by".split()
)
# For the frame of a narrow chart; the words of OBJECTIVES say it in full.
TITLES = {
    "mean_token_accuracy": "tokens guessed right",
    "rewards/accuracies": "pairs ranked right",
    "rewards/margins": "margin",
    "rewards/chosen": "better answers",
    "rewards/rejected": "worse answers",
    "logps/chosen": "better, log-prob.",
    "logps/rejected": "worse, log-prob.",
    "kl": "distance (KL)",
    "nll_loss": "imitation loss",
    "log_odds_chosen": "log odds",
    "accuracy": "pairs ranked right",
    "margin": "margin",
    "mean_reward": "mean score",
    "min_reward": "lowest score",
    "max_reward": "highest score",
    "reward": "reward",
    "reward_std": "spread of rewards",
    "frac_reward_zero_std": "nothing to learn",
    "entropy": "undecided (entropy)",
    "completions/mean_length": "answer length",
    "completions/clipped_ratio": "answers cut off",
    "completions/min_length": "shortest answer",
    "completions/max_length": "longest answer",
    "perplexity": "perplexity",
}
METRICS: dict[str, Metric] = {
    "entropy": Metric("entropy", "how undecided the model is"),
    "perplexity": Metric("perplexity", "how many words it wavers between", "down"),
}
for _about in reversed(OBJECTIVES.values()):
    METRICS |= {metric.name: metric for metric in _about.metrics}


class ObjectiveMetrics:
    """Curves of what the objective tells beside the loss, by name; x is the step."""

    def __init__(self) -> None:
        self.train: dict[str, Series] = {}
        self.eval: dict[str, Series] = {}
        self.first: dict[str, float] = {}
        """The first value of each."""

    def feed(self, step: float, point: Mapping[str, Any], evaluated: bool = False) -> None:
        """Take the numbers of a metric point, or of an evaluation, whose names begin with ``eval_``."""
        curves = self.eval if evaluated else self.train
        for key, told in point.items():
            value = number(told)
            # A string is a number only where JSON has no other way to write it.
            if key in OTHERS or value is None or (isinstance(told, str) and math.isfinite(value)):
                continue
            name = printable(key, 60).removeprefix("eval_")
            if name not in curves:
                if len(curves) >= MOST_METRICS:
                    continue
                curves[name] = Series("eval" if evaluated else title(name))
            curves[name].append(step, value)
            self.first.setdefault(name, value)

    def truncate_after(self, step: float) -> None:
        """Forget what comes after a step, because it is trained again."""
        for series in (*self.train.values(), *self.eval.values()):
            series.truncate_after(step)

    def names(self, objective: str) -> list[str]:
        """All names, the most telling of this objective first."""
        about = next((about for name, about in OBJECTIVES.items() if name == objective), None)
        known = [metric.name for metric in about.metrics] if about else []
        seen = [*self.train, *(name for name in self.eval if name not in self.train)]
        return sorted(seen, key=lambda name: known.index(name) if name in known else len(known))


def success_of(objective: str) -> str | None:
    """The number that tells how a run goes where it is not the loss, such as the reward; None where it is."""
    measures = [about.best_by for name, about in OBJECTIVES.items() if name == objective]
    return next((name.removeprefix("eval_") for name in measures if name != "eval_loss"), None)


def title(name: str) -> str:
    """A few words for the frame of a chart."""
    if name in TITLES:
        return TITLES[name]
    parts = name.split("/")
    if len(parts) == 3 and parts[0] == "rewards":  # of one reward function, as TRL logs it
        return f"{'spread of ' if parts[2] == 'std' else ''}{parts[1]}"
    return name


def meaning(name: str) -> str:
    """What a number says, in words."""
    if name in METRICS:
        return METRICS[name].words
    parts = name.split("/")
    if len(parts) == 3 and parts[0] == "rewards":
        return f"{'spread' if parts[2] == 'std' else 'mean'} of the reward {parts[1]}"
    return name


def better(name: str) -> Better:
    """Where a number should go."""
    return METRICS[name].better if name in METRICS else ""
